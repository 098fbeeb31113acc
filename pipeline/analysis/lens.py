"""Which tokens a latent's two decoders promote and suppress, and where the two models differ most.

For model m with `head_m`, its own final norm, unembedding and soft-cap,

    lens_m = head_m(sqrt(D) d_m / ||d_m||) - head_m(0)

the logits that the direction d_m would write if it reached the head alone ("logit lens",
nostalgebraist 2020); a decoder that is zero writes nothing. A direction has no length, so where
the models are set against each other each side counts by its share of the longer decoder:

    difference = w_it lens_it - w_base lens_base,    w_m = ||d_m|| / max(||d_base||, ||d_it||)

Letters: J latents, M models, D d_model, V vocabulary, K tokens of a list.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.losses import Head

LISTS = (
    "base_promoted",
    "base_suppressed",
    "it_promoted",
    "it_suppressed",
    "more_in_it",
    "more_in_base",
)
"""The token lists of the logit lens."""


@dataclass(frozen=True)
class TokenList:
    """The K tokens at one end of a ranking, the furthest first: ids and logits [J, K]."""

    token_JK: NDArray[np.int64]
    logit_JK: NDArray[np.floating]

    def told(self, j: int, text: Callable[[int], str]) -> list[tuple[str, float]]:
        """List number `j` as tokens, by the text of an id, and logits."""
        pairs = zip(self.token_JK[j], self.logit_JK[j], strict=True)
        return [(text(int(token)), round(float(logit), 4)) for token, logit in pairs]


@torch.inference_mode()
def logit_lens(
    heads: tuple[Head, Head], decoders_JMD: Tensor, *, n_tokens: int, n_vocab: int
) -> dict[str, TokenList]:
    """Name of LISTS -> its tokens. n_vocab: ids at and above it are padding, never shown.

    decoders_JMD: of both models, in any unit common to the two
    """
    norm_JM = torch.linalg.vector_norm(decoders_JMD, dim=2)
    weight_JM = norm_JM / norm_JM.amax(dim=1, keepdim=True).clamp_min(1e-30)
    unit = decoders_JMD / norm_JM.clamp_min(1e-30)[..., None] * decoders_JMD.shape[2] ** 0.5
    zero = [head.logits(torch.zeros_like(unit[:1, 0]))[:, :n_vocab] for head in heads]
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in LISTS}
    for part in heads[0].pieces(len(unit)):
        lens = [head.logits(unit[part, m])[:, :n_vocab] - zero[m] for m, head in enumerate(heads)]
        weight = weight_JM[part].to(lens[0].device)
        difference = weight[:, 1:] * lens[1] - weight[:, :1] * lens[0]
        ranked = (sign * logits for logits in (*lens, difference) for sign in (1, -1))
        for name, logits in zip(LISTS, ranked, strict=True):
            top = logits.topk(min(n_tokens, logits.shape[1]), dim=1)
            found[name].append((top.indices, top.values))
    return {name: _joined(name, pieces) for name, pieces in found.items()}


def _joined(name: str, pieces: list[tuple[Tensor, Tensor]]) -> TokenList:
    sign = -1 if name.endswith(("suppressed", "in_base")) else 1
    tokens, logits = (torch.cat(column).cpu().numpy() for column in zip(*pieces, strict=True))
    return TokenList(tokens, sign * logits + 0.0)  # + 0.0: no minus zero
