"""How sure a verdict is: tests by blocks of documents, and false discovery rates over latents.

For a latent anchored at one model, and a limit c, nu = beta_other / beta_own lies below c where

    sum_g z_g < 0,    z_g = S_g (beta_other,g - c beta_own,g)    over blocks g, S_g = sum f^2 in g

a sum over blocks of documents, and documents are what repeats independently, rows do not. With
T = sum z / sum S, h_g = S_g / sum S and the jackknife's residuals z_g - T S_g,

    t = T sum S / sqrt(sum_g ((z_g - T S_g) / (1 - h_g))^2)

is compared with Student's t of (sum S^2)^2 / sum S^4 - 1 degrees of freedom, the effective number
of blocks less one: a latent that fires in few documents needs a larger t (Bell and McCaffrey 2002,
"Bias reduction in standard errors for linear regression with multi-stage samples").

Letters: L latents, G blocks of documents, Y targets (error, reconstruction), A anchors, M models.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.scaling import ScalingSums
from pipeline.analysis.student import upper_tail

Floats = NDArray[np.float64]
EPS = 0
"""The error among the targets."""


@dataclass(frozen=True)
class Evidence:
    """What the rows say about each latent; arrays are [L], NaN where a latent never fires.

    n_effective: effective number of blocks of documents behind its figures
    p_exclusive: of `nu_eps >= max_eps or nu_r >= max_r` (the other model carries the direction)
    p_above_Y: of `nu <= max`, for each target [Y, L]
    present, present_null: t of the other model's beta_eps, and the same under the null pairing
    """

    n_effective: Floats
    p_exclusive: Floats
    p_above_Y: Floats
    present: Floats
    present_null: Floats

    @property
    def p_shared(self) -> Floats:
        """Of `nu_eps <= max_eps and nu_r <= max_r` (the latent is exclusive), by Bonferroni."""
        return np.minimum(1.0, 2 * self.p_above_Y.min(axis=0))


def gather_evidence(
    sums: ScalingSums, anchor_L: NDArray[np.integer], limits_Y: tuple[float, float]
) -> Evidence:
    """Tests of every latent at its own anchor. limits_Y: max_eps and max_r.

    An exclusive claim has to hold for both targets, and both need an anchor that carries the
    latent at all (beta_own > 0), so its p-value is the largest of these (intersection-union test).
    """
    square_GL = sums.square_GL
    own_GYL, other_GYL, null_GL = _anchored_sums(sums, anchor_L)
    n_effective = effective_number(square_GL)

    def p_positive(z_GYL: Floats) -> Floats:
        return upper_tail(t_statistic(z_GYL, square_GL[:, None]), n_effective - 1)

    limits = np.asarray(limits_Y)[:, None]
    below_GYL = limits * own_GYL - other_GYL
    p_own = p_positive(own_GYL)
    return Evidence(
        n_effective=n_effective,
        p_exclusive=np.maximum(p_positive(below_GYL), p_own).max(axis=0),
        p_above_Y=np.maximum(p_positive(-below_GYL), p_own),
        present=t_statistic(other_GYL[:, EPS], square_GL),
        present_null=t_statistic(null_GL, square_GL),
    )


def _anchored_sums(
    sums: ScalingSums, anchor_L: NDArray[np.integer]
) -> tuple[Floats, Floats, Floats]:
    """beta * S of the anchor's model and of the other [G, Y, L], and of the null [G, L]."""
    latent = np.arange(anchor_L.size)
    norm_L = sums.gram_AML[anchor_L, anchor_L, latent]
    own_GYL, other_GYL = (
        sums.product_GYAML[:, :, anchor_L, model_L, latent] / norm_L
        for model_L in (anchor_L, 1 - anchor_L)
    )
    put_back_L = sums.gram_AML[anchor_L, 1 - anchor_L, latent] / norm_L
    own_GYL[:, EPS] += sums.square_GL
    other_GYL[:, EPS] += sums.square_GL * put_back_L
    return own_GYL, other_GYL, sums.null_GYAL[:, EPS, anchor_L, latent] / norm_L


def effective_number(square_GL: Floats) -> Floats:
    """[L] (sum S^2)^2 / sum S^4: the number of blocks where all weigh alike, 1 where one does."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share_GL = square_GL / square_GL.max(axis=0)
        return (share_GL**2).sum(axis=0) ** 2 / (share_GL**4).sum(axis=0)


def t_statistic(z_G: Floats, square_G: Floats) -> Floats:
    """sum z over the jackknife's standard error; blocks are the first axis. NaN for one block."""
    total = square_G.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = z_G.sum(axis=0) / total
        residual_G = (z_G - mean * square_G) / (1 - square_G / total)
        return mean * total / np.sqrt((residual_G**2).sum(axis=0))


def exceedance(observed_L: Floats, null_L: Floats) -> Floats:
    """[L] share of the null values at or above each observed one, never 0; NaN where undefined."""
    null = np.sort(null_L[np.isfinite(null_L)])
    above = null.size - np.searchsorted(null, observed_L, side="left")
    return np.where(np.isfinite(observed_L), (above + 1) / (null.size + 1), np.nan)


def false_discovery_rate(p_L: Floats) -> Floats:
    """[L] Benjamini-Hochberg adjusted p-values; NaN stays NaN and is no test."""
    q = np.full(p_L.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p_L))
    order = known[np.argsort(p_L[known], kind="stable")]
    ranked = p_L[order] * order.size / np.arange(1, order.size + 1)
    q[order] = np.minimum.accumulate(ranked[::-1])[::-1].clip(max=1.0)
    return q
