"""Tables of the two decoder histograms, and the few numbers that sum each up."""

from typing import Any

import numpy as np

from pipeline.analysis.decoders.geometry import (
    CRITERIA,
    Geometry,
    Mask,
    criterion_counts,
    histogram,
    shared_mask,
)
from pipeline.columns import Table

ALIGNED_COSINE = 0.9
UNALIGNED_COSINE = 0.1


def relative_norm_summary(geometry: Geometry, live: Mask, *, window_tokens: int) -> dict[str, Any]:
    """Counts of live latents under the published criteria, in the normalised space."""
    r = geometry.relative_norm[live]
    return {
        "space": "normalised",
        "n_latents": int(live.size),
        "n_live": int(live.sum()),
        "n_dead": int((~live).sum()),
        "dead_window_tokens": window_tokens,
        "median_relative_norm": _median(r),
        **{criterion.name: criterion_counts(r, criterion) for criterion in CRITERIA},
    }


def relative_norm_table(geometry: Geometry, live: Mask, n_bins: int) -> Table:
    """Histogram of r: bin edges, centre, and counts of live and of dead latents."""
    r = geometry.relative_norm
    bins = histogram(r[live], n_bins=n_bins, low=0.0, high=1.0)
    dead = histogram(r[~live], n_bins=n_bins, low=0.0, high=1.0)
    return {
        "relative_norm": _centres(bins),
        "low": bins["low"],
        "high": bins["high"],
        "n_live": bins["count"],
        "n_dead": dead["count"],
    }


def decoder_cosine_summary(
    geometry: Geometry, live: Mask, low: float, high: float
) -> dict[str, Any]:
    """How far the two decoders of the live shared latents (low < r < high) point the same way."""
    shared = live & shared_mask(geometry.relative_norm, low, high)
    cosine = geometry.cosine[shared]
    return {
        "shared_low": low,
        "shared_high": high,
        "n_shared": int(shared.sum()),
        "mean": float(cosine.mean()) if cosine.size else None,
        "median": _median(cosine),
        "n_above_0.9": int((cosine > ALIGNED_COSINE).sum()),
        "n_below_0.1": int((cosine < UNALIGNED_COSINE).sum()),
        "n_negative": int((cosine < 0).sum()),
    }


def decoder_cosine_table(
    geometry: Geometry, live: Mask, *, low: float, high: float, n_bins: int
) -> Table:
    """Histogram of the cosine over the live shared latents: bin edges, centre, count."""
    shared = live & shared_mask(geometry.relative_norm, low, high)
    bins = histogram(geometry.cosine[shared], n_bins=n_bins, low=-1.0, high=1.0)
    return {
        "decoder_cosine": _centres(bins),
        "low": bins["low"],
        "high": bins["high"],
        "n_shared": bins["count"],
    }


def _centres(bins: dict[str, Any]) -> list[float]:
    return [
        round((low + high) / 2, 12) for low, high in zip(bins["low"], bins["high"], strict=True)
    ]


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None
