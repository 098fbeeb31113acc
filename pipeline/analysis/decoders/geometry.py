"""What the decoder alone tells about a latent: norms, relative norm, cosine, published bins.

Letters: L latents, M models (base = 0, IT = 1), D d_model. Everything is float64.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from pipeline.analysis.decoders.result import CriterionCounts

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

EXCLUSIVE_BINS = ("base_only", "it_only")
IN_BOTH = ("shared", "turned", "stronger", "weaker", "moved")
"""Verdicts on latents that both models have."""
CHANGED = IN_BOTH[1:]
"""And have differently."""
BINS = ("dead", "base_only", "between", "shared", "it_only")


@dataclass(frozen=True)
class Criterion:
    """A published rule on the relative norm r: base-only below `low`, IT-only above `high`.

    shared: open interval of r that the same source calls shared, where it names one
    """

    name: str
    low: float
    high: float
    shared: tuple[float, float] | None
    source: str


MINDER = Criterion(
    "minder",
    1 / 6,
    5 / 6,
    (4 / 9, 5 / 9),
    "Minder et al. 2025, arXiv 2504.02922: Delta 0.1, 0.4 to 0.6, 0.9",
)
ANTHROPIC = Criterion(
    "anthropic", 0.05, 0.95, None, "Anthropic, Insights on Crosscoder Model Diffing, 2025"
)
REFERENCE = Criterion(
    "reference", 0.3, 0.7, (0.3, 0.7), "Kissane et al. 2024, replication on Gemma-2-2B"
)
CRITERIA = (MINDER, ANTHROPIC, REFERENCE)


@dataclass(frozen=True)
class Geometry:
    """Per latent, in the normalised space the crosscoder was trained in; arrays are [L]."""

    norm_base: Floats
    norm_it: Floats
    relative_norm: Floats
    delta: Floats
    cosine: Floats


def decoder_geometry(W_dec_LMD: NDArray[np.floating]) -> Geometry:
    """Norms and angles of each latent's two decoder vectors, [L, 2, D].

    r = ||d_it|| / (||d_base|| + ||d_it||) and Delta = (1 + (||d_it|| - ||d_base||) / max) / 2.
    A latent whose two vectors are exactly zero has r = Delta = 0.5; a cosine with a zero vector
    is 0.
    """
    W = np.asarray(W_dec_LMD, dtype=np.float64)
    base, it = np.linalg.norm(W, axis=2).T
    return Geometry(
        norm_base=base,
        norm_it=it,
        relative_norm=_ratio(it, base + it, otherwise=0.5),
        delta=0.5 + 0.5 * _ratio(it - base, np.maximum(base, it), otherwise=0.0),
        cosine=_ratio((W[:, 0] * W[:, 1]).sum(axis=1), base * it, otherwise=0.0),
    )


def _ratio(numerator: Floats, denominator: Floats, *, otherwise: float) -> Floats:
    filled = np.full_like(numerator, otherwise)
    return np.divide(numerator, denominator, out=filled, where=denominator > 0)


def criterion_classes(relative_norm: Floats, criterion: Criterion) -> NDArray[np.str_]:
    """[L] base_only, shared, it_only, or between where the criterion calls it none of these."""
    classes = np.full(relative_norm.shape, "between", dtype="<U9")
    if criterion.shared:
        classes[shared_mask(relative_norm, *criterion.shared)] = "shared"
    classes[relative_norm < criterion.low] = "base_only"
    classes[relative_norm > criterion.high] = "it_only"
    return classes


def criterion_counts(relative_norm: Floats, criterion: Criterion) -> CriterionCounts:
    """How many latents the criterion calls base-only, shared, IT-only, or none of these."""
    classes = criterion_classes(relative_norm, criterion)
    counts: CriterionCounts = {
        "base_only": int((classes == "base_only").sum()),
        "it_only": int((classes == "it_only").sum()),
        "between": int((classes == "between").sum()),
    }
    if criterion.shared:
        counts["shared"] = int((classes == "shared").sum())
    return counts


def shared_mask(relative_norm: Floats, low: float, high: float) -> Mask:
    """[L] whether low < r < high."""
    return (relative_norm > low) & (relative_norm < high)


def bins_of(relative_norm: Floats, live: Mask) -> NDArray[np.str_]:
    """[L] one of BINS: exclusive by Minder's criterion, shared by the reference's, dead first."""
    bins = np.full(relative_norm.shape, "between", dtype="<U9")
    bins[shared_mask(relative_norm, REFERENCE.low, REFERENCE.high)] = "shared"
    bins[relative_norm < MINDER.low] = "base_only"
    bins[relative_norm > MINDER.high] = "it_only"
    bins[~live] = "dead"
    return bins


class Bins(TypedDict):
    """The edges of a histogram's bins and the counts in them."""

    low: list[float]
    high: list[float]
    count: list[int]


def histogram(values: Floats, *, n_bins: int, low: float, high: float) -> Bins:
    """A histogram with equal bins; the last bin is closed."""
    count, edges = np.histogram(np.clip(values, low, high), bins=n_bins, range=(low, high))
    return {
        "low": [round(float(edge), 12) for edge in edges[:-1]],
        "high": [round(float(edge), 12) for edge in edges[1:]],
        "count": [int(n) for n in count],
    }
