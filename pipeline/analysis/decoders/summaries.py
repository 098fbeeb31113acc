"""Tables of the two decoder histograms, and the few numbers that sum each up."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.analysis.decoders.geometry import (
    ANTHROPIC,
    MINDER,
    REFERENCE,
    Bins,
    Floats,
    Mask,
    criterion_counts,
    histogram,
    shared_mask,
)
from pipeline.analysis.decoders.result import DecoderCosine, RelativeNorm
from pipeline.columns import Table

if TYPE_CHECKING:
    import pandas as pd

ALIGNED_COSINE = 0.9
UNALIGNED_COSINE = 0.1


@dataclass(frozen=True)
class Latents:
    """What the two histograms are made of, [L]: relative norm, decoder cosine, and whether the
    latent is active at all in the window of the verdicts."""

    relative_norm: Floats
    cosine: Floats
    live: Mask


def live_latents(table: "pd.DataFrame") -> Latents:
    """The columns of `results/latents.parquet` that the histograms need. Which latents are dead is
    counted once, by the pass behind the verdicts."""
    return Latents(
        table["relative_norm"].to_numpy(),
        table["decoder_cosine"].to_numpy(),
        table["n_active"].to_numpy() > 0,
    )


def relative_norm_summary(latents: Latents, *, window_tokens: int) -> RelativeNorm:
    """Counts of live latents under the published criteria, in the normalised space."""
    live, r = latents.live, latents.relative_norm[latents.live]
    return {
        "space": "normalised",
        "n_latents": int(live.size),
        "n_live": int(live.sum()),
        "n_dead": int((~live).sum()),
        "dead_window_tokens": window_tokens,
        "median_relative_norm": _median(r),
        "minder": criterion_counts(r, MINDER),
        "anthropic": criterion_counts(r, ANTHROPIC),
        "reference": criterion_counts(r, REFERENCE),
    }


def relative_norm_table(latents: Latents, n_bins: int) -> Table:
    """Histogram of r: bin edges, centre, and counts of live and of dead latents."""
    r, live = latents.relative_norm, latents.live
    bins = histogram(r[live], n_bins=n_bins, low=0.0, high=1.0)
    dead = histogram(r[~live], n_bins=n_bins, low=0.0, high=1.0)
    return {
        "relative_norm": _centres(bins),
        "low": bins["low"],
        "high": bins["high"],
        "n_live": bins["count"],
        "n_dead": dead["count"],
    }


def decoder_cosine_summary(latents: Latents, *, low: float, high: float) -> DecoderCosine:
    """How far the two decoders of the live shared latents (low < r < high) point the same way."""
    shared = latents.live & shared_mask(latents.relative_norm, low, high)
    cosine = latents.cosine[shared]
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


def decoder_cosine_table(latents: Latents, *, low: float, high: float, n_bins: int) -> Table:
    """Histogram of the cosine over the live shared latents: bin edges, centre, count."""
    shared = latents.live & shared_mask(latents.relative_norm, low, high)
    bins = histogram(latents.cosine[shared], n_bins=n_bins, low=-1.0, high=1.0)
    return {
        "decoder_cosine": _centres(bins),
        "low": bins["low"],
        "high": bins["high"],
        "n_shared": bins["count"],
    }


def _centres(bins: Bins) -> list[float]:
    return [
        round((low + high) / 2, 12) for low, high in zip(bins["low"], bins["high"], strict=True)
    ]


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None
