"""How sure it is whose a latent is: the tests of `blocks`, on what nu is made of.

For a latent anchored at one model, and a limit c, nu = beta_other / beta_own lies below c where

    sum_g z_g < 0,    z_g = S_g (beta_other,g - c beta_own,g)    over blocks g, S_g = sum f^2 in g

nu looks along the anchor's decoder, and a concept that the other model has in another direction
escapes it. So one more figure must stay below a limit of its own:

    nu_turned = ||d_other|| beta_other / (||d_own|| beta_own)

each model's beta along its own decoder, error with the latent put back: what the other model writes
of the latent in whatever direction. A looser limit than nu_eps has, because a decoder also mends
what the latent's firing disturbs in other latents: most planted exclusive features reach 0.05 to
0.46, turned ones 1. (A concept that the other model has on other rows: see `twins` and
`elsewhere`.)

Letters: L latents, G blocks of documents, Y targets (error, reconstruction), A anchors, M models,
C claims (error, reconstruction, turned).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.blocks import both_tails, effective_number, t_statistic, upper_tail
from pipeline.analysis.verdicts.scaling import ScalingSums

Floats = NDArray[np.float64]
EPS = 0
"""The error among the targets."""
CLAIMS = ("eps", "r", "turned")


@dataclass(frozen=True)
class Evidence:
    """What the rows say about each latent; arrays are [L], NaN where a latent never fires.

    n_effective: effective number of blocks of documents behind its figures
    p_exclusive: of `nu >= max` for any of CLAIMS (the other model carries the latent)
    p_above_C: of `nu <= max`, for each of CLAIMS [C, L]
    nu_turned: its estimate
    present, present_null: t of the other model's beta_eps, and the same under the null pairing
    """

    n_effective: Floats
    p_exclusive: Floats
    p_above_C: Floats
    nu_turned: Floats
    present: Floats
    present_null: Floats

    @property
    def p_both(self) -> Floats:
        """p-value of the claim that both models have the latent, against `nu <= max` for all of
        CLAIMS, by Bonferroni."""
        return np.minimum(1.0, len(self.p_above_C) * self.p_above_C.min(axis=0))


def gather_evidence(
    sums: ScalingSums, anchor_L: NDArray[np.integer], limits_C: tuple[float, float, float]
) -> Evidence:
    """Tests of every latent at its own anchor. limits_C: of CLAIMS.

    An exclusive verdict claims all of CLAIMS, and these need an anchor that carries the latent at
    all (beta_own > 0), so its p-value is the largest of these (intersection-union test).
    """
    square_GL = sums.square_GL
    own_GYL, other_GYL, null_GL = _anchored_sums(sums, anchor_L)
    n_effective = effective_number(square_GL)

    turned_GL, scaled_own_GL = _turned_sums(sums, anchor_L, own_GYL[:, EPS])

    own_GCL = np.concatenate([own_GYL, scaled_own_GL[:, None]], axis=1)
    other_GCL = np.concatenate([other_GYL, turned_GL[:, None]], axis=1)
    below_GCL = np.asarray(limits_C)[:, None] * own_GCL - other_GCL
    t_CL = t_statistic(below_GCL, square_GL[:, None])
    p_below_CL, p_above_CL = both_tails(t_CL, n_effective - 1)
    p_own = upper_tail(t_statistic(own_GYL, square_GL[:, None]), n_effective - 1)
    p_own_CL = np.concatenate([p_own, p_own[EPS, None]])
    return Evidence(
        n_effective=n_effective,
        p_exclusive=np.maximum(p_below_CL, p_own_CL).max(axis=0),
        p_above_C=np.maximum(p_above_CL, p_own_CL),
        nu_turned=_share(turned_GL, scaled_own_GL),
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


def _turned_sums(
    sums: ScalingSums, anchor_L: NDArray[np.integer], own_GL: Floats
) -> tuple[Floats, Floats]:
    """||d|| beta S of the other model along its own decoder, and of the anchor's, [G, L]."""
    latent, other_L = np.arange(anchor_L.size), 1 - anchor_L
    norm_own, norm_other = (
        np.sqrt(sums.gram_AML[model_L, model_L, latent]) for model_L in (anchor_L, other_L)
    )
    product_GL = sums.product_GYAML[:, EPS, other_L, other_L, latent]
    along = np.divide(product_GL, norm_other, out=np.zeros_like(product_GL), where=norm_other > 0)
    return along + norm_other * sums.square_GL, norm_own * own_GL


def _share(part_GL: Floats, whole_GL: Floats) -> Floats:
    part, whole = part_GL.sum(axis=0), whole_GL.sum(axis=0)
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def exceedance(observed_L: Floats, null_L: Floats) -> Floats:
    """[L] share of the null values at or above each observed one, never 0; NaN where undefined."""
    null = np.sort(null_L[np.isfinite(null_L)])
    above = null.size - np.searchsorted(null, observed_L, side="left")
    return np.where(np.isfinite(observed_L), (above + 1) / (null.size + 1), np.nan)
