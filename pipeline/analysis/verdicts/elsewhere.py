"""Whether the other model has, on other rows, the direction of a latent that looks exclusive.

An exclusive verdict claims that the other model has no such concept. nu looks only at the rows on
which the latent fires, and a twin (see `twins`) must have been learned. Where the two models' rows
do not belong together, or one model has a concept in other contexts, neither need show anything. So
all rows of the other model are asked. With the latent's decoder d and the other model's covariance
C, its readout

    w = (C + r I)^-1 d,    r = RIDGE tr(C) / D

is the linear detector of d against all else that the other model writes (Fisher 1936, "The use of
multiple measurements in taxonomic problems"). t is the mean of <w, y_own> over the rows on which
the latent fires (y about its mean), and the direction is elsewhere unless the share

    #{<w, y_other> > q t} / #{<w, y_own> > q t}

is below a limit in two looks:

    rows     y = h; q = 0.85, for at the mean itself half of few rows are lost
    errors   y = h - x_hat, the latent put back; q = 1/3; own rows count where the latent fires

The rows ask without the crosscoder; all own rows that pass count, so that what disturbs is on both
sides of the ratio. Its errors hold what no other latent explains: there little disturbs, and a
concept shows that the other model has at a third of the strength.

Both are tested over blocks of documents as nu is, and row by row where rows are few. A claim that
the concept is there must stand out from what is there anyway: rows of the other model as far below
the mean, and in the errors, where those are more, rows of the own model without the latent. Where t
is not above 0 nothing can be said. Everything is in the crosscoder's normalised space. Asked are
the latents called exclusive and the undecided ones that both nu estimates would call so: those can
only become shared. Measured shares are in docs/design.md, "Planted truth".

Letters: E latents that look exclusive, G blocks of documents, Q looks (rows, errors).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.blocks import both_tails, effective_number, false_discovery_rate, t_statistic
from pipeline.analysis.decoders.geometry import Mask
from pipeline.analysis.verdicts.twins import EXCLUSIVE
from pipeline.config.analysis import LatentScalingConfig

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tails:
    """One look's counts by block of documents.

    own_GE, other_GE: rows above the level, of each latent's own model and of the other
    noise_GE: rows as far from the mean that are no sign of the concept
    """

    own_GE: Floats
    other_GE: Floats
    noise_GE: Floats

    @property
    def share(self) -> Floats:
        own, other = self.own_GE.sum(axis=0), self.other_GE.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return other / own

    def tests(self, max_share: float) -> tuple[Floats, Floats]:
        """p-values [E] of `share >= max_share` and of `share <= max_share`; 1 for no row."""
        own_and_noise_GE = self.own_GE + self.noise_GE / max_share
        below, _ = _tests(self.own_GE, self.other_GE, max_share)
        _, above = _tests(own_and_noise_GE, self.other_GE, max_share)
        return below, above


def _tests(own_GE: Floats, other_GE: Floats, max_share: float) -> tuple[Floats, Floats]:
    from scipy import stats  # a second of CPU, which whoever only asks for `Tails` need not wait

    weight_GE = own_GE + other_GE
    t = t_statistic(max_share * own_GE - other_GE, weight_GE)
    below, above = both_tails(t, effective_number(weight_GE) - 1)
    # No smaller than if every row counted for itself: blocks without a single row of the other
    # model have no spread, and t is infinite.
    at_limit = stats.binom(np.ceil(weight_GE.sum(axis=0)), max_share / (1 + max_share))
    other = other_GE.sum(axis=0)
    return (
        np.maximum(np.nan_to_num(below, nan=1.0), at_limit.cdf(other)),
        np.maximum(np.nan_to_num(above, nan=1.0), at_limit.sf(other - 1)),
    )


def largest_share(tails_Q: Sequence[Tails]) -> Floats:
    """[E] over the looks."""
    return np.fmax.reduce([tails.share for tails in tails_Q])


def combined_tests(tails_Q: Sequence[Tails], max_share: float) -> tuple[Floats, Floats]:
    """p-values [E] of `share >= max_share` in some look and of `share <= max_share` in all: the
    largest (Berger 1982) and the smallest times the number of looks (Bonferroni)."""
    below_QE, above_QE = np.stack([tails.tests(max_share) for tails in tails_Q], axis=1)
    return below_QE.max(axis=0), np.minimum(len(tails_Q) * above_QE.min(axis=0), 1.0)


def look_exclusive(table: "pd.DataFrame", section: LatentScalingConfig) -> Mask:
    """[L] called exclusive, or open with both nu estimates below their limits."""
    called = table["verdict"].isin(EXCLUSIVE)
    tested = table["q_exclusive"].notna()  # rows and blocks enough
    open_ = table["verdict"].eq("undecided") & ~table["in_both"] & tested
    small = table["nu_eps"] < section.max_nu_error
    small &= table["nu_r"] < section.max_nu_reconstruction
    return (called | (open_ & small)).to_numpy(dtype=bool)


def refute_elsewhere(
    table: "pd.DataFrame", candidate: Mask, tails_Q: Sequence[Tails], section: LatentScalingConfig
) -> "pd.DataFrame":
    """The table of verdicts with the column `share_elsewhere` filled for the candidates, in whose
    order `tails_Q` are. Both models have those surely above the limit: they have moved where
    they were called exclusive. Those not surely below it are undecided; p and q of an exclusive
    verdict count this test too."""
    table, max_false_discovery_rate = table.copy(), section.max_false_discovery_rate
    p_below, p_above = combined_tests(tails_Q, section.max_share_elsewhere)
    p_exclusive = table["p_exclusive"].to_numpy(copy=True)
    p_exclusive[candidate] = np.maximum(p_exclusive[candidate], p_below)
    q_exclusive = false_discovery_rate(p_exclusive)
    above = false_discovery_rate(p_above) <= max_false_discovery_rate
    called = table.loc[candidate, "verdict"].isin(EXCLUSIVE).to_numpy()
    verdict = table.loc[candidate, "verdict"].to_numpy(copy=True)
    verdict[q_exclusive[candidate] > max_false_discovery_rate] = "undecided"
    verdict[above & called] = "moved"
    table.loc[candidate, "share_elsewhere"] = largest_share(tails_Q)
    table.loc[candidate, "verdict"] = verdict
    table.loc[np.flatnonzero(candidate)[above], "in_both"] = True
    table["p_exclusive"], table["q_exclusive"] = p_exclusive, q_exclusive
    refuted = candidate & table["in_both"] & table["norm_bin"].isin(EXCLUSIVE)
    table.loc[refuted, "artefact"] = "latent_decoupling"
    return table
