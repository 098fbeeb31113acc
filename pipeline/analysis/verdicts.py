"""What each latent is, by latent scaling with its uncertainty, and where the norm bins go wrong.

Letters: L latents, R resamples, G blocks of documents.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.geometry import EXCLUSIVE_BINS, Geometry, bins_of
from pipeline.analysis.scaling import ScalingSums, scaling

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

VERDICTS = ("shared", "base_only", "it_only", "undecided", "dead")
ARTEFACTS = ("", "complete_shrinkage", "latent_decoupling", "both")
BASE, IT = 0, 1
LATENTS_AT_ONCE = 2048
"""Latents resampled at once, which bounds memory whatever the width of the dictionary."""

COLUMNS = {
    "latent": "index in the dictionary",
    "verdict": "shared, base_only, it_only, undecided or dead, by nu with its interval",
    "anchor": "model whose decoder nu is measured along: the one with the longer decoder",
    "nu_eps": "the other model's coefficient over the anchor's, error with the latent put back",
    "nu_eps_low": "lower end of its interval",
    "nu_eps_high": "upper end of its interval",
    "nu_r": "the same for the reconstruction",
    "nu_r_low": "lower end of its interval",
    "nu_r_high": "upper end of its interval",
    "nu_eps_null": "nu_eps with the other model's rows drawn from other tokens",
    "nu_r_null": "nu_r with the other model's rows drawn from other tokens",
    "p_present": "share of the latents' null nu_eps at or above this one's nu_eps: small means "
    "that the other model does carry the latent's direction",
    "q_present": "p_present as a false discovery rate (Benjamini and Hochberg)",
    "n_active": "rows of the window on which the latent is active",
    "norm_bin": "what the decoder norms alone say: dead, base_only, between, shared or it_only",
    "artefact": "where the norms say exclusive and nu says shared: complete_shrinkage (nu_eps is "
    "large), latent_decoupling (nu_r is large) or both",
    "relative_norm": "r = ||d_it|| / (||d_base|| + ||d_it||), normalised space, 0 to 1",
    "delta": "(1 + (||d_it|| - ||d_base||) / max) / 2, normalised space, 0 to 1",
    "decoder_cosine": "cosine of d_base and d_it, -1 to 1",
}


@dataclass(frozen=True)
class Rule:
    """Exclusive: nu_eps < max_eps and nu_r < max_r (Minder et al.: 0.2 and 0.5), sure of both.

    min_active: active rows below which no verdict is given
    """

    max_eps: float
    max_r: float
    min_active: int


def verdict_table(
    geometry: Geometry, sums: ScalingSums, weights_RG: Floats, *, rule: Rule, confidence: float
) -> "pd.DataFrame":
    """One row per latent with the columns of COLUMNS. weights_RG: resamples of the blocks."""
    import pandas as pd

    anchor = np.where(geometry.relative_norm >= 0.5, IT, BASE)
    point = scaling(sums)
    nu, null = _anchored(point.nu, anchor), _anchored(point.nu_null, anchor)
    low, high = intervals(sums, anchor, weights_RG, confidence)
    n_active = sums.n_active_GL.sum(axis=0).astype(np.int64)
    verdict = verdicts(low, high, anchor, n_active, rule)
    norm_bin = bins_of(geometry.relative_norm, n_active > 0)
    p = exceedance(nu[0], null[0])
    table = pd.DataFrame(
        {
            "latent": np.arange(anchor.size),
            "verdict": verdict,
            "anchor": np.array(["base", "it"])[anchor],
            "nu_eps": nu[0],
            "nu_eps_low": low[0],
            "nu_eps_high": high[0],
            "nu_r": nu[1],
            "nu_r_low": low[1],
            "nu_r_high": high[1],
            "nu_eps_null": null[0],
            "nu_r_null": null[1],
            "p_present": p,
            "q_present": false_discovery_rate(p),
            "n_active": n_active,
            "norm_bin": norm_bin,
            "artefact": artefacts(verdict, norm_bin, low, rule),
            "relative_norm": geometry.relative_norm,
            "delta": geometry.delta,
            "decoder_cosine": geometry.cosine,
        }
    )
    return table.loc[:, list(COLUMNS)]


def intervals(
    sums: ScalingSums, anchor_L: NDArray[np.integer], weights_RG: Floats, confidence: float
) -> tuple[Floats, Floats]:
    """Percentile interval of nu (error, reconstruction) as two arrays [2, L]."""
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    ends = []
    for at in range(0, anchor_L.size, LATENTS_AT_ONCE):
        part = slice(at, at + LATENTS_AT_ONCE)
        drawn = scaling(
            ScalingSums(
                sums.square_GL[:, part],
                sums.n_active_GL[:, part],
                sums.product_GYAML[..., part],
                sums.null_GYAL[..., part],
                sums.gram_AML[..., part],
            ),
            weights_RG,
        )
        nu = _anchored(drawn.nu, anchor_L[part])
        sure = np.isfinite(nu).all(axis=0)
        filled = np.where(sure, nu, 0.0)
        ends.append(np.where(sure, np.quantile(filled, tails, axis=0), np.nan))
    low, high = np.concatenate(ends, axis=-1)
    return low, high


def verdicts(
    low: Floats,
    high: Floats,
    anchor_L: NDArray[np.integer],
    n_active_L: NDArray[np.integer],
    rule: Rule,
) -> NDArray[np.str_]:
    """[L] of VERDICTS. low, high: [2, L] ends of nu_eps and nu_r; NaN decides nothing."""
    exclusive = (high[0] < rule.max_eps) & (high[1] < rule.max_r)
    shared = (low[0] >= rule.max_eps) | (low[1] >= rule.max_r)
    verdict = np.full(anchor_L.shape, "undecided", dtype="<U9")
    verdict[shared] = "shared"
    verdict[exclusive & (anchor_L == IT)] = "it_only"
    verdict[exclusive & (anchor_L == BASE)] = "base_only"
    verdict[n_active_L < rule.min_active] = "undecided"
    verdict[n_active_L == 0] = "dead"
    return verdict


def artefacts(
    verdict: NDArray[np.str_], norm_bin: NDArray[np.str_], low: Floats, rule: Rule
) -> NDArray[np.str_]:
    """[L] of ARTEFACTS: why the norms call a latent exclusive that nu calls shared."""
    wrong = (verdict == "shared") & np.isin(norm_bin, EXCLUSIVE_BINS)
    shrunk, decoupled = low[0] >= rule.max_eps, low[1] >= rule.max_r
    names = np.array(ARTEFACTS)
    return np.where(wrong, names[shrunk + 2 * decoupled], "")


def exceedance(observed_L: Floats, null_L: Floats) -> Floats:
    """[L] share of the null values at or above each observed one, never 0; NaN where undefined."""
    null = np.sort(null_L[np.isfinite(null_L)])
    above = null.size - np.searchsorted(null, observed_L, side="left")
    return np.where(np.isfinite(observed_L), (above + 1) / (null.size + 1), np.nan)


def false_discovery_rate(p_L: Floats) -> Floats:
    """[L] Benjamini-Hochberg adjusted p-values; NaN stays NaN."""
    q = np.full(p_L.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p_L))
    order = known[np.argsort(p_L[known], kind="stable")]
    ranked = p_L[order] * order.size / np.arange(1, order.size + 1)
    q[order] = np.minimum.accumulate(ranked[::-1])[::-1].clip(max=1.0)
    return q


def summary(table: "pd.DataFrame", *, window_tokens: int, confidence: float) -> dict[str, Any]:
    """Counts for `results/latent_scaling.json`: verdicts, artefacts, norm bins beside verdicts."""
    verdict, artefact, norm_bin = (
        table[name].to_numpy() for name in ("verdict", "artefact", "norm_bin")
    )
    called = np.isin(norm_bin, EXCLUSIVE_BINS)
    return {
        "space": "normalised",
        "window_tokens": window_tokens,
        "confidence": confidence,
        **{name: int((verdict == name).sum()) for name in VERDICTS},
        "artefacts": {name: int((artefact == name).sum()) for name in ARTEFACTS if name},
        "called_exclusive_by_norm": int(called.sum()),
        "of_these_confirmed": int((called & (verdict == norm_bin)).sum()),
        "of_these_refuted": int((called & (verdict == "shared")).sum()),
    }


def _anchored(values_YAL: Floats, anchor_L: NDArray[np.integer]) -> Floats:
    """[..., Y, L] of [..., Y, A, L]: each latent's own anchor."""
    return np.where(anchor_L == IT, values_YAL[..., IT, :], values_YAL[..., BASE, :])


def resamples(n_blocks: int, n_resamples: int, random: np.random.Generator) -> Floats:
    """[R, G] how often each block is drawn in each bootstrap resample."""
    shares = np.full(n_blocks, 1 / n_blocks)
    return random.multinomial(n_blocks, shares, size=n_resamples).astype(np.float64)
