"""One pass over held-out sequences: where the chosen latents fire, how often and how strongly.

Letters: B rows, J chosen latents, L latents, T windows kept, W tokens of a window, N rows of the
store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.dashboards.excerpts import FIELDS, Sequences, Windows, sequences_of
from pipeline.analysis.dashboards.histograms import Activity
from pipeline.analysis.groups import Cells
from pipeline.analysis.heldout import rows_of_blocks
from pipeline.crosscoder import Crosscoder
from pipeline.distributed import ALONE, Ranks
from pipeline.store import StoreReader

SPARE = 3
"""Rows sampled per one shown: bands that the sample hit often have more than they show."""


@dataclass(frozen=True)
class Kept:
    """What a pass keeps. top: the strongest row of each of as many documents; sampled: rows drawn
    uniformly from all on which the latent is active; activity: histograms."""

    top: Windows
    sampled: Windows
    activity: Activity


@dataclass(frozen=True)
class WindowShape:
    """Tokens shown before and after the token a latent fires on; windows kept per latent."""

    before: int
    after: int
    n_top: int
    n_sampled: int


def restricted(crosscoder: Crosscoder, latents_J: NDArray[np.integer]) -> Crosscoder:
    """The crosscoder with the chosen latents alone: their activations are the same."""
    at = torch.from_numpy(np.asarray(latents_J, np.int64)).to(crosscoder.W_dec.device)
    return Crosscoder.from_weights(
        kind=crosscoder.kind,
        W_enc=crosscoder.W_enc.detach()[..., at],
        W_dec=crosscoder.W_dec.detach()[at],
        b_enc=crosscoder.b_enc.detach()[at],
        b_dec=crosscoder.b_dec.detach(),
        activation_scale=crosscoder.activation_scale,
        threshold=crosscoder.threshold[at],
    ).to(crosscoder.W_dec.device)


def sequence_blocks(
    sequence_N: NDArray[np.integer], n_rows: int, batch_rows: int
) -> list[tuple[int, int]]:
    """Row ranges of whole sequences, of at most `batch_rows` rows unless one sequence is longer.

    All of them where there are at most `n_rows` rows, else an even spread of as many.
    """
    edges = np.concatenate(([0], np.flatnonzero(np.diff(sequence_N)) + 1, [len(sequence_N)]))
    blocks: list[tuple[int, int]] = []
    start = 0
    for stop, following in zip(edges[1:], [*edges[2:], np.inf], strict=True):
        if following - start > batch_rows:
            blocks.append((start, int(stop)))
            start = int(stop)
    n_blocks = max(1, len(blocks) * n_rows // max(n_rows, len(sequence_N)))
    return [blocks[i * len(blocks) // n_blocks] for i in range(n_blocks)]


class ExamplePass:
    """Keeps the windows and histograms of the chosen latents; memory does not grow with rows."""

    def __init__(
        self, n_latents: int, shape: WindowShape, cells: Cells, random: torch.Generator
    ) -> None:
        self._random = random
        sides = {"before": shape.before, "after": shape.after}
        self.kept = Kept(
            Windows(n_latents, shape.n_top, **sides, one_per_document=True),
            Windows(n_latents, shape.n_sampled, **sides, one_per_document=False),
            Activity(n_latents, cells),
        )

    def see(self, f_BJ: Tensor, around: Sequences, cell_B: NDArray[np.int64]) -> None:
        """Add the latents of whole sequences."""
        best = self._best_of_documents(f_BJ, around.place_BF)
        self.kept.top.see(*best, f_BJ, around)
        # The rows with the largest of independent uniform keys are a uniform sample.
        key = self._keys(len(f_BJ)).clamp_min(1e-9).to(f_BJ.device)
        drawn = (key * (f_BJ > 0)).topk(min(self._n_sampled, len(f_BJ)), dim=0)
        self.kept.sampled.see(drawn.values, drawn.indices, f_BJ, around)
        self.kept.activity.see(f_BJ, cell_B)

    def skip(self, n_rows: int) -> None:
        """Leave rows to another process: the random numbers that they would take are drawn."""
        self._keys(n_rows)

    def _keys(self, n_rows: int) -> Tensor:
        return torch.rand(n_rows, len(self.kept.top.score_JT), generator=self._random)

    def merge(self, ranks: Ranks, first_sequences: Sequence[int]) -> None:
        """Keep what is best of all processes' rows. first_sequences: of each batch in order"""
        if ranks.size > 1:
            self.kept.top.merge(ranks, first_sequences)
            self.kept.sampled.merge(ranks, first_sequences)
            self.kept.activity.merge(ranks)

    @property
    def _n_sampled(self) -> int:
        return self.kept.sampled.score_JT.shape[1]

    def _best_of_documents(
        self, f_BJ: Tensor, place_BF: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        """Values and rows [T, J] of the strongest row in each run of one document, the best T."""
        changes = np.diff(place_BF[:, [0, 2]], axis=0).any(axis=1)
        starts = [0, *(np.flatnonzero(changes) + 1).tolist()]
        found = [
            f_BJ[start:stop].max(dim=0)
            for start, stop in zip(starts, [*starts[1:], len(f_BJ)], strict=True)
        ]
        value = torch.stack([best.values for best in found])
        row = torch.stack([b.indices + s for b, s in zip(found, starts, strict=True)])
        top = value.topk(min(self.kept.top.score_JT.shape[1], len(value)), dim=0)
        return top.values, row.gather(0, top.indices)


@torch.inference_mode()
def example_pass(
    crosscoder: Crosscoder,
    activations: StoreReader,
    tokens: StoreReader,
    latents_J: NDArray[np.integer],
    *,
    shape: WindowShape,
    n_rows: int,
    batch_rows: int,
    random: torch.Generator,
    ranks: Ranks = ALONE,
) -> Kept:
    """One pass over about `n_rows` held-out rows, in whole sequences spread over the store. ranks:
    the processes that take batches in turns; each gets what is kept of all

    Memory beside the crosscoder: `batch_rows` x (16 J + 24 W) bytes for a batch, and for each
    latent (n_top + n_sampled) x (8 W + 48) + 1,024 bytes for what is kept.
    """
    chosen = restricted(crosscoder, latents_J)
    device = chosen.W_dec.device
    running = ExamplePass(len(latents_J), shape, Cells.of(activations), random)
    sequence_N = activations.read("sequence")
    blocks = sequence_blocks(sequence_N, n_rows, batch_rows)
    batches = rows_of_blocks(
        activations, blocks, device, name="dashboards", columns=FIELDS, ranks=ranks
    )
    for number, (start, stop) in enumerate(blocks):
        if not ranks.turn(number):
            running.skip(stop - start)
            continue
        rows = next(batches)
        first, last = (int(rows.columns["sequence"][at]) for at in (0, -1))
        around = sequences_of(
            rows.columns,
            tokens.read("token_id", first, last + 1),
            first_sequence=first,
            before=shape.before,
            after=shape.after,
        )
        running.see(chosen.encode(chosen.normalise(rows.x)), around, rows.cells)
    running.merge(ranks, [int(sequence_N[start]) for start, _ in blocks])
    return running.kept
