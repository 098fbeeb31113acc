"""Intervals of nu by resampling blocks of documents, each latent at its own anchor.

Letters: L latents, R resamples, G blocks of documents, Y targets, A anchors (base, IT).
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.verdicts.scaling import ScalingSums, scaling

Floats = NDArray[np.float64]

BASE, IT = 0, 1
LATENTS_AT_ONCE = 2048
"""Latents resampled at once, which bounds memory whatever the width of the dictionary."""


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
        nu = anchored(drawn.nu, anchor_L[part])
        sure = np.isfinite(nu).all(axis=0)
        filled = np.where(sure, nu, 0.0)
        ends.append(np.where(sure, np.quantile(filled, tails, axis=0), np.nan))
    low, high = np.concatenate(ends, axis=-1)
    return low, high


def anchored(values_YAL: Floats, anchor_L: NDArray[np.integer]) -> Floats:
    """[..., Y, L] of [..., Y, A, L]: each latent's own anchor."""
    return np.where(anchor_L == IT, values_YAL[..., IT, :], values_YAL[..., BASE, :])


def resamples(n_blocks: int, n_resamples: int, random: np.random.Generator) -> Floats:
    """[R, G] how often each block is drawn in each bootstrap resample."""
    shares = np.full(n_blocks, 1 / n_blocks)
    return random.multinomial(n_blocks, shares, size=n_resamples).astype(np.float64)
