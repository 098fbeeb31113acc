"""The causal weight of a change: undone alone in the IT model, or made alone in base.

The IT model goes on from the hook point with another activation in the place of its own:

    none            h_base                          how far base is from IT
    made_j          h_base + c_j                    the change alone made in base
    undone_j        h_it - c_j                      the change alone undone in IT
    random_j_i      h_base + f_l (d_l^it - d_l^base)   a random latent l that fires as often

with c_j the change's own part of the difference of this row. KL(IT || that) over KL of `none` is 1
at base and 0 at IT: `made` tells which share of the distance goes, `undone` which share comes.

Letters: Q sequences, S positions, D d_model, B rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.patches import GROUPS, Batch, CausalSums, Streams
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.splicing import row_pieces
from pipeline.config.changes import ChangesConfig
from pipeline.crosscoder import Crosscoder
from pipeline.results import Measured
from pipeline.store import StoreReader

NEIGHBOURS = 16
"""Latents of the nearest firing rates among which a random one is drawn."""


@dataclass(frozen=True)
class Weight:
    """Shares of KL(IT || base): made, undone and made_random with intervals over sequences."""

    made: Measured
    undone: Measured
    made_random: Measured


class ChangePatches:
    """The replacements above, for some changes. latents: change -> its random latents."""

    def __init__(
        self,
        changes: Changes,
        crosscoder: Crosscoder,
        latents: Mapping[int, Sequence[int]],
        section: ChangesConfig,
    ) -> None:
        self._changes, self._crosscoder, self._section = changes, crosscoder, section
        self._latents = latents
        drawn = sorted({latent for each in latents.values() for latent in each})
        self._column = {latent: column for column, latent in enumerate(drawn)}
        self._difference_LD = crosscoder.decoder_difference()

    def __call__(self, streams: Streams, _batch: Batch) -> Iterator[tuple[str, Tensor]]:
        base, it = (stream.to(self._difference_LD.device) for stream in (streams.base, streams.it))
        x_BMD = torch.stack([base, it], dim=2).flatten(0, 1)
        f_BL = self._changes.activity(x_BMD, self._section).f_BL
        drawn_BJ = self._drawn(x_BMD)
        yield "none", base
        for change, latents in self._latents.items():
            rows, c_ND = self._changes.contribution(f_BL, change)
            part = torch.zeros_like(x_BMD[:, 0]).index_copy_(0, rows, c_ND).view(base.shape)
            yield f"made_{change}", base + part
            yield f"undone_{change}", it - part
            for draw, latent in enumerate(latents):
                f_B1 = drawn_BJ[:, self._column[latent], None]
                move = f_B1 * self._difference_LD[latent]
                yield f"random_{change}_{draw}", base + move.view(base.shape)

    def _drawn(self, x_BMD: Tensor) -> Tensor:
        """[B, J] activations of the latents that were drawn."""
        drawn, crosscoder = list(self._column), self._crosscoder
        pieces = row_pieces(x_BMD, crosscoder.n_latents)
        return torch.cat([crosscoder.latents(piece)[:, drawn] for piece in pieces])


def random_latents(
    n_active: float, n_active_L: NDArray[np.integer], n_draws: int, random: np.random.Generator
) -> list[int]:
    """Live latents that fire on about `n_active` rows."""
    live = np.flatnonzero(n_active_L > 0)
    nearest = live[np.argsort(np.abs(np.log(n_active_L[live] / n_active)), kind="stable")]
    pool = nearest[:NEIGHBOURS]
    return [int(latent) for latent in random.permutation(pool)[:n_draws]]


def whole_batch(device: torch.device, tokens: StoreReader, numbers: NDArray[np.int64]) -> Batch:
    """Sequences of any source. Changes may act anywhere, so every predicted token is in one
    group."""
    columns = {name: tokens.take(name, numbers) for name in ("token_id", "source", "token_class")}
    group_QS = np.full(columns["token_id"].shape, GROUPS.index("outside"))
    return Batch.of(columns, group_QS, device)


def weights(
    sums: CausalSums, latents: Mapping[int, Sequence[int]], bootstrap: Bootstrap
) -> dict[int, Weight]:
    """Change -> its weight. Shares are None where base does not differ from IT."""
    kl_Q = {name: kl_QG.sum(axis=1) for name, kl_QG in sums.kl_QG.items()}
    return {
        change: Weight(
            made=bootstrap.one_minus_ratio(kl_Q[f"made_{change}"], kl_Q["none"]),
            undone=bootstrap.ratio(kl_Q[f"undone_{change}"], kl_Q["none"]),
            made_random=bootstrap.one_minus_ratio(
                np.mean([kl_Q[f"random_{change}_{i}"] for i in range(len(drawn))], axis=0),
                kl_Q["none"],
            ),
        )
        for change, drawn in latents.items()
    }
