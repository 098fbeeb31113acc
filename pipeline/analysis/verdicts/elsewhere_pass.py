"""The two passes over held-out rows behind `elsewhere`: moments, then counts above the levels.

Letters: B rows, M models, D d_model, P = M * D, L latents, E latents that look exclusive (base's
own first), N active pairs of row and latent, G blocks of documents, Q looks (rows, errors).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.decoders.geometry import Mask
from pipeline.analysis.heldout import Window
from pipeline.analysis.verdicts.elsewhere import Floats, Tails
from pipeline.analysis.verdicts.scaling import MAX_ELEMENTS
from pipeline.crosscoder import Crosscoder
from pipeline.crosscoder.entries import SparseEntries

if TYPE_CHECKING:
    import pandas as pd

RIDGE = 1e-3
ROWS, ERRORS = range(2)
LEVELS = (0.85, 1 / 3)
"""Share of the mean readout where the latent fires above which a row counts, by look."""
OWN, OTHER, MIRRORED, SILENT = range(4)
"""Rows counted: above the level in the own model and in the other; as far below the mean in the
other; above it in the own model where the latent does not fire."""


@torch.inference_mode()
def tails_elsewhere(
    crosscoder: Crosscoder,
    window: Window,
    table: "pd.DataFrame",
    candidate: Mask,
    *,
    n_blocks: int,
) -> list[Tails]:
    """The counts of each look over held-out rows; no pass where there is no candidate."""
    latent_E = torch.from_numpy(candidate.nonzero()[0])
    if not len(latent_E):
        return [Tails(*np.zeros((3, n_blocks, 0))) for _ in LEVELS]
    own_E = torch.tensor(table["anchor"].eq("it").tolist()).long()[latent_E]
    order_E = torch.argsort(own_E, stable=True)
    n_base = int((own_E == 0).sum())
    looks = _Looks(crosscoder, window, latent_E[order_E], n_base)
    counts = _counts(looks, _Readout.of(looks, _Moments.of(looks)), n_blocks)
    return [_tails(look[..., torch.argsort(order_E)].numpy()) for look in counts.cpu()]


def _tails(counts: Floats) -> Tails:
    """The counts [4, G, E] of one look; noise is, by latent, the larger of the two counts that are
    no sign of the concept."""
    mirrored, silent = counts[MIRRORED], counts[SILENT]
    noise = np.where(silent.sum(axis=0) > mirrored.sum(axis=0), silent, mirrored)
    return Tails(counts[OWN], counts[OTHER], noise)


class _Looks:
    """The same rows for every pass, as both looks see them."""

    def __init__(
        self, crosscoder: Crosscoder, window: Window, latent_E: Tensor, n_base: int
    ) -> None:
        self.ranks = window.ranks
        self.latent_E = latent_E.to(crosscoder.W_dec.device)
        self.own = (slice(0, n_base), slice(n_base, len(latent_E)))
        """The latents of either model."""
        self.d_EMD = crosscoder.W_dec.detach()[self.latent_E]
        self._crosscoder, self._window = crosscoder, window

    def over(self, name: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(h and h - x_hat [Q, B, M, D], the candidates' f [B, E], document [B]), once over all
        rows of this process, the first rows with the first. name: of the progress line and log."""
        device = self.d_EMD.device
        n_at_once = max(1, MAX_ELEMENTS // max(self._crosscoder.n_latents, 4 * len(self.latent_E)))
        for rows in self._window.batches(device, name, "document"):
            document = torch.from_numpy(rows.columns["document"].astype(np.int64)).to(device)
            x = self._crosscoder.normalise(rows.x)
            for x_BMD, part in zip(x.split(n_at_once), document.split(n_at_once), strict=True):
                yield *self._seen(x_BMD), part

    def _seen(self, x_BMD: Tensor) -> tuple[Tensor, Tensor]:
        crosscoder = self._crosscoder
        f_BL = crosscoder.encode(x_BMD)
        flat_N = f_BL.flatten().nonzero()[:, 0]
        active = SparseEntries.at(flat_N, f_BL.flatten()[flat_N], *f_BL.shape)
        x_hat = active.decode(crosscoder.W_dec_LP) + crosscoder.b_dec_P
        y_QBMD = torch.stack([x_BMD, x_BMD - x_hat.view(x_BMD.shape)])
        return y_QBMD, f_BL[:, self.latent_E]


@dataclass(frozen=True)
class _Moments:
    """mean_QMD, covariance_QMDD: of each model's rows and errors
    fired_QED: mean of the own model's over the rows on which each latent fires; f_E: of f there
    """

    mean_QMD: Tensor
    covariance_QMDD: Tensor
    fired_QED: Tensor
    f_E: Tensor

    @classmethod
    def of(cls, looks: _Looks) -> "_Moments":
        n_latents, n_models, d_model = looks.d_EMD.shape
        n_looks = len(LEVELS)
        shape = (n_looks, n_models, d_model)
        total = looks.d_EMD.new_zeros(shape, dtype=torch.float64)
        square, origin = total.new_zeros(*shape, d_model), total.float()
        fired = total.new_zeros(n_looks, n_latents, d_model)
        f_sum, n_fired = total.new_zeros(2, n_latents)
        n = 0
        # One pass, and squares of rows whose mean is large against their spread: taken about 0 the
        # mean would cancel away in float32. So everything is summed about an origin near the mean,
        # that of the first rows, and moved to the true mean at the end.
        batches = looks.over("latent_scaling_moments")
        first = list(islice(batches, 1))
        if first:
            origin = first[0][0].mean(1)
        looks.ranks.broadcast(origin)
        for y_QBMD, f_BE, _ in chain(first, batches):
            around = y_QBMD - origin[:, None]
            fires = (f_BE > 0).float()
            n += around.shape[1]
            total += around.sum(1, dtype=torch.float64)
            square += torch.einsum("qbmd,qbme->qmde", around, around)
            for model, own in enumerate(looks.own):
                fired[:, own] += fires[:, own].T @ around[:, :, model]
            f_sum += f_BE.sum(0, dtype=torch.float64)
            n_fired += fires.sum(0)
        looks.ranks.sum(total, square, fired, f_sum, n_fired)
        n = looks.ranks.total(n)
        shift = total / n
        for q, model in np.ndindex(n_looks, n_models):  # in place: the largest array there is
            square[q, model].addr_(shift[q, model], shift[q, model], beta=1 / n, alpha=-1)
        fired /= n_fired[:, None]
        for model, own in enumerate(looks.own):
            fired[:, own] -= shift[:, model, None]
        return cls(origin + shift.float(), square, fired, f_sum / n_fired)


@dataclass(frozen=True)
class _Readout:
    """<w, y - mean> [Q, M, B, E] is `y @ w - offset + f * back`: the errors get the latent back.

    w_QED; offset_QME, back_QME; level_QE: above which rows count, NaN (no row is) if not above 0
    """

    w_QED: Tensor
    offset_QME: Tensor
    back_QME: Tensor
    level_QE: Tensor

    @classmethod
    def of(cls, looks: _Looks, moments: _Moments) -> "_Readout":
        w_QED = torch.empty_like(moments.fired_QED, dtype=torch.float32)
        mean_QE = moments.f_E.new_zeros(w_QED.shape[:2])
        for q, model in np.ndindex(len(LEVELS), len(looks.own)):
            own, C = looks.own[model], moments.covariance_QMDD[q, 1 - model].clone()
            C.diagonal().add_(RIDGE * C.diagonal().mean())
            d_ED = looks.d_EMD[own, model].double()
            w_ED = torch.linalg.solve(C, d_ED.T).T
            mean_QE[q, own] = (w_ED * moments.fired_QED[q, own]).sum(1)
            if q == ERRORS:
                mean_QE[q, own] += moments.f_E[own] * (w_ED * d_ED).sum(1)
            w_QED[q, own] = w_ED.float()
        back_QME = torch.einsum("qed,emd->qme", w_QED, looks.d_EMD)
        back_QME[ROWS] = 0.0
        offset_QME = torch.einsum("qed,qmd->qme", w_QED, moments.mean_QMD)
        level_QE = (mean_QE * mean_QE.new_tensor(LEVELS)[:, None]).float()
        level_QE = torch.where(level_QE > 0, level_QE, torch.nan)
        return cls(w_QED, offset_QME, back_QME, level_QE)

    def of_rows(self, q: int, y_BMD: Tensor, f_BE: Tensor, base: slice) -> tuple[Tensor, Tensor]:
        """[B, E] of each latent's own model, and of the other. base: base's own latents"""
        read = y_BMD.transpose(0, 1) @ self.w_QED[q].T
        read += f_BE * self.back_QME[q][:, None] - self.offset_QME[q][:, None]
        read[:, :, base] = read[:, :, base].flip(0)
        other, own = read
        return own, other


def _counts(looks: _Looks, readout: _Readout, n_blocks: int) -> Tensor:
    """[Q, 4, G, E] rows of OWN, OTHER, MIRRORED and SILENT."""
    n_looks, n_latents = readout.level_QE.shape
    counts = readout.level_QE.new_zeros(n_looks, 4, n_blocks, n_latents, dtype=torch.float64)
    for y_QBMD, f_BE, document_B in looks.over("latent_scaling_elsewhere"):
        for q, (y_BMD, level_E) in enumerate(zip(y_QBMD, readout.level_QE, strict=True)):
            own, other = readout.of_rows(q, y_BMD, f_BE, looks.own[0])
            counted = {OWN: own > level_E, OTHER: other > level_E, MIRRORED: other < -level_E}
            if q == ERRORS:
                counted[SILENT] = counted[OWN] & (f_BE <= 0)
                counted[OWN] &= f_BE > 0
            for which, rows in counted.items():
                counts[q, which].index_add_(0, document_B % n_blocks, rows.double())
    looks.ranks.sum(counts)
    return counts
