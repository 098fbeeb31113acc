"""Whether the other model has, on other rows, the direction of a latent that looks exclusive.

An exclusive verdict claims that the other model has no such concept. nu looks only at the rows on
which the latent fires, and a twin (see `twins`) must have been learned. Where the two models' rows
do not belong together, or one model has a concept in other contexts, neither need show anything. So
the other model's rows are asked themselves, without the crosscoder: with its decoder d and the
other model's covariance C, the latent's readout

    w = (C + r I)^-1 d,    r = RIDGE tr(C) / D

is the linear detector of d against all else that the other model writes (Fisher 1936, "The use of
multiple measurements in taxonomic problems"). With t = mean of <w, h_own - mean_own> over the rows
on which the latent fires, and a limit c, the direction is elsewhere unless at both levels, q = 1
and, for a concept that the other model has more weakly, q = 1/2,

    share_q = #{<w, h_other - mean_other> > q t} / #{<w, h_own - mean_own> > q t} < c

tested over blocks of documents as nu is, and row by row where rows are few. Everything is in the
crosscoder's normalised space. Asked are the latents called exclusive and the undecided ones that
both nu estimates would call so: those can only become shared. Measured shares are in
docs/results.md, "Null pairs".

Letters: B rows, M models, D d_model, E latents that look exclusive, G blocks of documents,
Q levels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from pipeline.analysis.evidence import (
    both_tails,
    effective_number,
    false_discovery_rate,
    t_statistic,
)
from pipeline.analysis.geometry import Mask
from pipeline.analysis.heldout import as_float, spread_blocks
from pipeline.analysis.scaling import MAX_ELEMENTS
from pipeline.analysis.twins import EXCLUSIVE
from pipeline.crosscoder import Crosscoder
from pipeline.progress import Progress
from pipeline.store import StoreReader

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
RIDGE = 1e-3
N_PASSES = 3
LEVELS = (1.0, 0.5)


@dataclass(frozen=True)
class Tails:
    """At one level. own_GE, other_GE: rows above it, of each latent's own model and of the other,
    by block of documents."""

    own_GE: Floats
    other_GE: Floats

    @property
    def share(self) -> Floats:
        own, other = self.own_GE.sum(axis=0), self.other_GE.sum(axis=0)
        return np.divide(other, own, out=np.full_like(own, np.nan), where=own > 0)

    def tests(self, max_share: float) -> tuple[Floats, Floats]:
        """p-values [E] of `share >= max_share` and of `share <= max_share`; 1 for no row."""
        weight_GE = self.own_GE + self.other_GE
        t = t_statistic(max_share * self.own_GE - self.other_GE, weight_GE)
        below, above = both_tails(t, effective_number(weight_GE) - 1)
        fewest, most = self._counting_tests(max_share)
        return (
            np.maximum(np.nan_to_num(below, nan=1.0), fewest),
            np.maximum(np.nan_to_num(above, nan=1.0), most),
        )

    def _counting_tests(self, max_share: float) -> tuple[Floats, Floats]:
        """The same if every row counted for itself, exact however few there are: blocks without a
        single row of the other model have no spread to judge by."""
        other, n = self.other_GE.sum(axis=0), (self.own_GE + self.other_GE).sum(axis=0)
        at_limit = stats.binom(n, max_share / (1 + max_share))
        return at_limit.cdf(other), at_limit.sf(other - 1)


def largest_share(tails_Q: Sequence[Tails]) -> Floats:
    """[E] over the levels."""
    return np.fmax.reduce([tails.share for tails in tails_Q])


def combined_tests(tails_Q: Sequence[Tails], max_share: float) -> tuple[Floats, Floats]:
    """p-values [E] of `share >= max_share` at some level and of `share <= max_share` at all: the
    largest (Berger 1982) and the smallest times the number of levels (Bonferroni)."""
    below_QE, above_QE = np.stack([tails.tests(max_share) for tails in tails_Q], axis=1)
    return below_QE.max(axis=0), np.minimum(len(tails_Q) * above_QE.min(axis=0), 1.0)


def look_exclusive(table: "pd.DataFrame", *, max_eps: float, max_r: float) -> Mask:
    """[L] called exclusive, or undecided with both nu estimates below their limits."""
    called = table["verdict"].isin(EXCLUSIVE)
    tested = table["q_exclusive"].notna()  # rows and blocks enough
    small = tested & (table["nu_eps"] < max_eps) & (table["nu_r"] < max_r)
    return (called | (table["verdict"].eq("undecided") & small)).to_numpy()


def refute_elsewhere(
    table: "pd.DataFrame",
    candidate: Mask,
    tails_Q: Sequence[Tails],
    *,
    max_share: float,
    max_false_discovery_rate: float,
) -> "pd.DataFrame":
    """The table of verdicts with the column `share_elsewhere` filled for the candidates, in whose
    order `tails_Q` are. Those surely above the limit are shared, those not surely below it
    undecided; their p and q of an exclusive verdict count this test too."""
    table = table.copy()
    p_below, p_above = combined_tests(tails_Q, max_share)
    p_exclusive = table["p_exclusive"].to_numpy(copy=True)
    p_exclusive[candidate] = np.maximum(p_exclusive[candidate], p_below)
    q_exclusive = false_discovery_rate(p_exclusive)
    above = false_discovery_rate(p_above) <= max_false_discovery_rate
    verdict = table.loc[candidate, "verdict"].to_numpy(copy=True)
    verdict[q_exclusive[candidate] > max_false_discovery_rate] = "undecided"
    verdict[above] = "shared"
    table.loc[candidate, "share_elsewhere"] = largest_share(tails_Q)
    table.loc[candidate, "verdict"] = verdict
    table["p_exclusive"], table["q_exclusive"] = p_exclusive, q_exclusive
    refuted = candidate & (table["verdict"] == "shared") & table["norm_bin"].isin(EXCLUSIVE)
    table.loc[refuted, "artefact"] = "latent_decoupling"
    return table


@torch.inference_mode()
def tails_elsewhere(
    crosscoder: Crosscoder,
    reader: StoreReader,
    table: "pd.DataFrame",
    candidate: Mask,
    *,
    n_rows: int,
    batch_rows: int,
    n_blocks: int,
) -> list[Tails]:
    """Of each of LEVELS, by N_PASSES passes over `n_rows` held-out rows: moments, levels, counts.
    No pass where there is no candidate."""
    latent_E = torch.from_numpy(candidate.nonzero()[0])
    if not len(latent_E):
        return [Tails(*np.zeros((2, n_blocks, 0))) for _ in LEVELS]
    model_E = torch.tensor(table["anchor"].eq("it").tolist()).long()[latent_E]
    rows = _Rows(crosscoder, reader, n_rows, batch_rows)
    with rows.progress:
        readout = _Readout.of(crosscoder, latent_E, model_E, *_moments(rows))
        return _counts(rows, readout, _levels(rows, readout), n_blocks)


@dataclass
class _Rows:
    """The same normalised rows for every pass."""

    crosscoder: Crosscoder
    reader: StoreReader
    n_rows: int
    batch_rows: int

    def __post_init__(self) -> None:
        self.blocks = spread_blocks(self.reader.n_rows, self.n_rows, self.batch_rows)
        total = N_PASSES * sum(stop - start for start, stop in self.blocks)
        self.progress = Progress("latent_scaling_elsewhere", total=total, unit="rows")

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(x [B, M, D], document [B])"""
        device = self.crosscoder.W_dec.device
        for start, stop in self.blocks:
            x_raw = as_float(self.reader.read("activations", start, stop), device)
            document = torch.from_numpy(self.reader.read("document", start, stop).astype(np.int64))
            yield self.crosscoder.normalise(x_raw), document.to(device)
            self.progress.advance(stop - start)


def _moments(rows: _Rows) -> tuple[Tensor, Tensor]:
    """Mean [M, D] and covariance [M, D, D] of each model's rows."""
    crosscoder = rows.crosscoder
    n_models, d_model = crosscoder.n_models, crosscoder.d_model
    origin, total = crosscoder.W_dec.new_zeros(2, n_models, d_model, dtype=torch.float64)
    square, n = total.new_zeros(n_models, d_model, d_model), 0
    for x, _ in rows:
        if n == 0:
            origin = x.mean(0)  # near the mean of all: nothing cancels
        around = x - origin
        n += len(x)
        total += around.sum(0, dtype=torch.float64)
        square += torch.einsum("bmd,bme->mde", around, around)
    shift = total / n
    covariance = square / n - torch.einsum("md,me->mde", shift, shift)
    return origin + shift.float(), covariance


@dataclass(frozen=True)
class _Readout:
    """encoder: of the latents alone; w_ED, offset_ME: <w, h - mean> is `h @ w - offset`."""

    encoder: Crosscoder
    model_E: Tensor
    w_ED: Tensor
    offset_ME: Tensor

    @classmethod
    def of(
        cls,
        crosscoder: Crosscoder,
        latent_E: Tensor,
        model_E: Tensor,
        mean_MD: Tensor,
        covariance_MDD: Tensor,
    ) -> "_Readout":
        W_dec_EMD = crosscoder.W_dec.detach()[latent_E]
        encoder = Crosscoder.from_weights(
            kind=crosscoder.kind,
            W_enc=crosscoder.W_enc.detach()[:, :, latent_E],
            W_dec=W_dec_EMD,
            b_enc=crosscoder.b_enc.detach()[latent_E],
            b_dec=crosscoder.b_dec.detach(),
            threshold=crosscoder.threshold[latent_E],
        ).to(W_dec_EMD.device)
        w_ED = torch.empty_like(W_dec_EMD[:, 0])
        for model in range(len(mean_MD)):
            C, of_model = covariance_MDD[1 - model], model_E == model
            C = C + RIDGE * C.diagonal().mean() * torch.eye(len(C)).to(C)
            d_ED = W_dec_EMD[of_model, model].double()
            w_ED[of_model] = torch.linalg.solve(C, d_ED.T).T.to(w_ED)
        return cls(encoder, model_E.to(w_ED.device), w_ED, mean_MD @ w_ED.T)

    def split(self, x_BMD: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """(rows, x of them, <w, h - mean> [M, B, E] with the latent's own model first)."""
        n_rows = max(1, MAX_ELEMENTS // len(self.w_ED))
        own_first = self.model_E == 0
        for start in range(0, len(x_BMD), n_rows):
            part = slice(start, start + n_rows)
            x = x_BMD[part]
            read = x.transpose(0, 1) @ self.w_ED.T - self.offset_ME[:, None]
            yield part, x, torch.where(own_first, read, read.flip(0))


def _levels(rows: _Rows, readout: _Readout) -> Tensor:
    """[E] mean readout of the own model over the rows on which each latent fires."""
    total, n = torch.zeros(2, len(readout.w_ED), dtype=torch.float64, device=readout.w_ED.device)
    for x_BMD, _ in rows:
        for _, x, read in readout.split(x_BMD):
            fires = readout.encoder.encode(x) > 0
            total += (read[0] * fires).sum(0, dtype=torch.float64)
            n += fires.sum(0)
    return (total / n).to(readout.w_ED)


def _counts(rows: _Rows, readout: _Readout, level_E: Tensor, n_blocks: int) -> list[Tails]:
    shape = (len(LEVELS), 2, n_blocks, len(level_E))
    counts = torch.zeros(shape, dtype=torch.float64, device=level_E.device)
    for x_BMD, document in rows:
        for part, _, read in readout.split(x_BMD):
            for at, share_of_level in enumerate(LEVELS):
                above = (read > share_of_level * level_E).double()
                for side in range(2):
                    counts[at, side].index_add_(0, document[part] % n_blocks, above[side])
    return [Tails(own, other) for own, other in counts.cpu().numpy()]
