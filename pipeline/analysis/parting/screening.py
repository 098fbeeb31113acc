"""KL(IT || base) after every token of sampled held-out sequences, and where it is largest.

Letters: Q sequences, S positions, D d_model, N tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.losses import divergences
from pipeline.analysis.splicing import HookedModel, Unpatched, prediction_mask
from pipeline.progress import Progress
from pipeline.store import StoreReader

Ints = NDArray[np.int64]
ENDING = 3
"""Two texts that end with the same tokens, so many, would show the same thing twice."""


@dataclass(frozen=True)
class Screened:
    """Every token that counts, in the order of the text: columns [N] of the table, kl in nats."""

    sequence: Ints
    position: Ints
    source: Ints
    token_id: Ints
    kl: NDArray[np.float64]

    def largest(self, source: int, *, n: int, min_kl: float, apart: int) -> list[int]:
        """Indices of at most `n` tokens of a source with the largest KL, from `min_kl` on, no two
        of one sequence less than `apart` positions from each other, nor two after the same
        ENDING."""
        of_source = np.flatnonzero((self.source == source) & (self.kl >= min_kl))
        chosen: dict[tuple[int, ...], int] = {}
        for at in of_source[np.argsort(-self.kl[of_source], kind="stable")]:
            if len(chosen) == n:
                break
            last = slice(max(0, at - ENDING + 1), at + 1)
            own = self.sequence[last] == self.sequence[at]
            ending = tuple(self.token_id[last][own].tolist())
            near = (
                self.sequence[at] == self.sequence[other]
                and abs(self.position[at] - self.position[other]) < apart
                for other in chosen.values()
            )
            if ending not in chosen and not any(near):
                chosen[ending] = int(at)
        return list(chosen.values())


@torch.inference_mode()
def token_divergences(
    models: tuple[HookedModel, HookedModel], token_ids: Tensor, unpatched: Unpatched
) -> tuple[Tensor, Tensor]:
    """Where predictions count [Q, S - 1], and the KL(IT || base) of each of these [N]: not of what
    a start token predicts, nor of the start of another text, nor at an outlier."""
    hidden_M, starts = [model.residual(token_ids) for model in models], unpatched.starts(token_ids)
    mask = prediction_mask(starts | unpatched.outliers(hidden_M), starts)
    base, it = (
        model.continued(token_ids, hidden)[:, :-1][mask]
        for model, hidden in zip(models, hidden_M, strict=True)
    )
    return mask, divergences((models[1].head, models[0].head), (it, base))


def screen(
    models: tuple[HookedModel, HookedModel],
    tokens: StoreReader,
    sequences: Ints,
    *,
    batch_sequences: int,
    unpatched: Unpatched,
    device: torch.device,
) -> Screened:
    """The tokens of these sequences of the token store."""
    parts: list[tuple[NDArray[Any], ...]] = []
    with Progress("parting_screen", total=len(sequences), unit="sequences") as progress:
        for at in range(0, len(sequences), batch_sequences):
            part = sequences[at : at + batch_sequences]
            parts.append(_columns(models, tokens, part, unpatched, device))
            progress.advance(len(part))
    return Screened(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _columns(
    models: tuple[HookedModel, HookedModel],
    tokens: StoreReader,
    sequence_Q: Ints,
    unpatched: Unpatched,
    device: torch.device,
) -> tuple[NDArray[Any], ...]:
    """What `Screened` holds of one batch."""
    ids_QS, source_QS = (tokens.take(name, sequence_Q) for name in ("token_id", "source"))
    mask, kl_N = token_divergences(models, torch.from_numpy(ids_QS).long().to(device), unpatched)
    where = mask.cpu().numpy()
    at_N, position_N = where.nonzero()
    return (
        sequence_Q[at_N],
        position_N,
        source_QS[:, :-1][where].astype(np.int64),
        ids_QS[:, :-1][where].astype(np.int64),
        kl_N.double().cpu().numpy(),
    )
