"""What stands beside the figures of a listed change: latents, tokens, text, causal weight.

Letters: J changes, L latents, D d_model.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.run import over_sequences
from pipeline.analysis.changes.causal import (
    ChangePatches,
    Weight,
    random_latents,
    weights,
    whole_batch,
)
from pipeline.analysis.changes.latents import Rests, Shown, rests_on
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.changes.result import Example, LatentUnder, Lens
from pipeline.analysis.opening import Opened
from pipeline.config.changes import ChangesConfig
from pipeline.crosscoder import Crosscoder
from pipeline.labels import MODELS as NAMES
from pipeline.runtime import numpy_generator
from pipeline.stage import TOKENS
from pipeline.store import StoreReader
from pipeline.text.pieces import Pieces

LENS = {
    "promotes_in_base": "base_promoted",
    "suppresses_in_base": "base_suppressed",
    "promotes_in_it": "it_promoted",
    "suppresses_in_it": "it_suppressed",
}
"""Field of a change -> list of the logit lens."""


@dataclass(frozen=True)
class Surroundings:
    """latents: that fire with the change; lens: field of Change -> tokens; all empty for shifts of
    mean and scale, which act on every row. tokens, sources: that it acts on, with their shares."""

    latents: list[LatentUnder] = field(default_factory=list)
    weight: Weight | None = None
    lens: Mapping[str, Lens] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    tokens: list[tuple[str, float]] = field(default_factory=list)
    sources: list[tuple[str, float]] = field(default_factory=list)


def surroundings(
    opened: Opened, changes: Changes, listed: Sequence[int], n_active_J: NDArray[np.integer]
) -> dict[int, Surroundings]:
    """Change -> what stands beside it. n_active_J: rows on which each change acts."""
    section = opened.config.changes
    lined = [change for change in listed if change < changes.n]
    found = dict.fromkeys(listed, Surroundings())
    if not lined:
        return found
    model, table = opened.crosscoder(), opened.latents()
    text = opened.reader(TOKENS) if opened.config.has_models else nullcontext()
    with opened.heldout(section) as window, text as tokens:
        rests = rests_on(changes, model, window, tokens, section)
    verdicts = table["verdict"].tolist()
    under = {change: latents_under(rests, change, verdicts, section) for change in lined}
    if not opened.config.has_models:
        return found | {change: Surroundings(under[change]) for change in lined}
    lens = promoted(opened, changes, lined)
    texts, pieces = strongest(opened, rests, lined), Pieces(opened.tokenizer)
    weighed = weigh_first(opened, changes, model, lined, n_active_J, table["n_active"].to_numpy())
    return found | {
        change: Surroundings(
            under[change],
            weighed.get(change),
            promoted,
            texts[change],
            rests.where[change].tokens(pieces, section.n_lens_tokens),
            rests.where[change].sources(opened.config.source_names),
        )
        for change, promoted in zip(lined, lens, strict=True)
    }


def latents_under(
    rests: Rests, change: int, verdicts: Sequence[str], section: ChangesConfig
) -> list[LatentUnder]:
    """The latents that fire with a change, the closest first."""
    correlation_L = rests.correlation_JL[change]
    best = np.argsort(-correlation_L, kind="stable")[: section.n_latents]
    return [
        {
            "latent": int(latent),
            "verdict": str(verdicts[latent]),
            "correlation": float(correlation_L[latent]),
            "cosine": float(rests.cosine_JL[change, latent]),
        }
        for latent in best
        if correlation_L[latent] >= section.min_correlation
    ]


def promoted(opened: Opened, changes: Changes, lined: Sequence[int]) -> list[dict[str, Lens]]:
    """Of each direction, the tokens it promotes and suppresses through either model's head."""
    both_JMD = changes.direction_JD[lined][:, None].expand(-1, len(NAMES), -1)
    found = opened.lens(both_JMD, opened.config.changes.n_lens_tokens)
    text = Pieces(opened.tokenizer).single
    return [
        {field: found[name].told(j, text) for field, name in LENS.items()}
        for j in range(len(lined))
    ]


def strongest(opened: Opened, rests: Rests, lined: Iterable[int]) -> dict[int, list[Example]]:
    """Change -> its examples."""
    pieces, n_context = Pieces(opened.tokenizer), opened.config.changes.n_context_tokens
    with opened.reader(TOKENS) as tokens:
        return {
            change: examples(rests.shown[change], tokens, pieces, n_context=n_context)
            for change in lined
        }


def weigh_first(
    opened: Opened,
    changes: Changes,
    model: Crosscoder,
    lined: Sequence[int],
    n_active_J: NDArray[np.integer],
    n_active_L: NDArray[np.integer],
) -> dict[int, Weight]:
    """Causal weights of the first `n_causal` changes."""
    section, causal = opened.config.changes, opened.config.causal
    random = numpy_generator(section.seed, "changes", "random_latents")
    drawn = {
        change: random_latents(float(n_active_J[change]), n_active_L, causal.n_draws, random)
        for change in lined[: section.n_causal]
    }
    if not drawn:
        return {}
    random = numpy_generator(section.seed, "changes", "sequences")
    chosen = opened.sampled_sequences(causal.n_sequences, random)
    sums = over_sequences(
        opened,
        ChangePatches(changes, model, drawn, section),
        chosen,
        partial(whole_batch, opened.device),
        name="changes_causal",
    )
    bootstrap = Bootstrap(
        len(chosen),
        n_resamples=causal.n_bootstrap,
        confidence=causal.confidence,
        random=numpy_generator(section.seed, "changes", "bootstrap"),
    )
    return weights(sums, drawn, bootstrap)


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
