"""What a person reads of a change: tokens that its direction promotes, and examples in context.

Letters: J changes, D d_model, M models.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.changes.latents import Shown
from pipeline.analysis.changes.result import Example, Lens
from pipeline.analysis.lens import Head, logit_lens
from pipeline.store import StoreReader
from pipeline.text.pieces import Pieces

LENS = {
    "promotes_in_base": "base_promoted",
    "suppresses_in_base": "base_suppressed",
    "promotes_in_it": "it_promoted",
    "suppresses_in_it": "it_suppressed",
}
"""Field of a change -> list of the logit lens."""


def lenses(
    heads: tuple[Head, Head], direction_JD: Tensor, pieces: Pieces, *, n_tokens: int, n_vocab: int
) -> list[dict[str, Lens]]:
    """Of each direction, the tokens it promotes and suppresses through either model's head."""
    both_JMD = torch.stack([direction_JD, direction_JD], dim=1)
    found = logit_lens(heads, both_JMD, n_tokens=n_tokens, n_vocab=n_vocab)

    def tokens(name: str, change: int) -> Lens:
        listed = found[name]
        texts = [pieces.single(int(token)) for token in listed.token_JK[change]]
        logits = [round(float(logit), 4) for logit in listed.logit_JK[change]]
        return list(zip(texts, logits, strict=True))

    return [
        {field: tokens(name, change) for field, name in LENS.items()}
        for change in range(len(direction_JD))
    ]


def examples(shown: Shown, tokens: StoreReader, pieces: Pieces, *, n_context: int) -> list[Example]:
    """The strongest rows as text, strongest first."""
    found = sorted(shown.by_document.items(), key=lambda item: (-item[1][0], item[0]))
    sequences = np.array([place[2] for _, place in found], dtype=np.int64)
    token_ids = tokens.take("token_id", sequences)
    written: list[Example] = []
    for (document, (_, strength, sequence, position)), ids in zip(found, token_ids, strict=True):
        context = pieces.of(int(i) for i in ids[max(0, position - n_context) : position + 1])
        written.append(
            {
                "document": document,
                "sequence": sequence,
                "position": position,
                "strength": strength,
                "before": "".join(context[:-1]),
                "token": context[-1],
            }
        )
    return written
