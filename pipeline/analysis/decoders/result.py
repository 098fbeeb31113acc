"""What `results/relative_norm.*` and `results/decoder_cosine.*` hold."""

from typing import NotRequired

from typing_extensions import TypedDict

from pipeline.results import Counts, Numbers, ResultFile


class CriterionCounts(TypedDict):
    """Live latents by the class a published criterion puts them in."""

    base_only: int
    it_only: int
    shared: NotRequired[int]
    between: int


class RelativeNorm(TypedDict):
    """Counts of live latents by the length of their decoders, in the normalised space."""

    space: str
    n_latents: int
    n_live: int
    n_dead: int
    dead_window_tokens: int
    median_relative_norm: float | None
    minder: CriterionCounts
    anthropic: CriterionCounts
    reference: CriterionCounts


class RelativeNormBins(TypedDict):
    """Histogram of r: centre and edges of each bin, live and dead latents in it."""

    relative_norm: Numbers
    low: Numbers
    high: Numbers
    n_live: Counts
    n_dead: Counts


DecoderCosine = TypedDict(
    "DecoderCosine",
    {
        "shared_low": float,
        "shared_high": float,
        "n_shared": int,
        "mean": float | None,
        "median": float | None,
        "n_above_0.9": int,
        "n_below_0.1": int,
        "n_negative": int,
    },
)
"""The angle between the two decoders of the live latents with shared_low < r < shared_high."""


class DecoderCosineBins(TypedDict):
    """Histogram of the cosine: centre and edges of each bin, shared latents in it."""

    decoder_cosine: Numbers
    low: Numbers
    high: Numbers
    n_shared: Counts


RELATIVE_NORM = ResultFile("relative_norm.json", "relative_norm", RelativeNorm)
RELATIVE_NORM_BINS = ResultFile("relative_norm.csv", "relative_norm", RelativeNormBins)
DECODER_COSINE = ResultFile("decoder_cosine.json", "decoder_cosine", DecoderCosine)
DECODER_COSINE_BINS = ResultFile("decoder_cosine.csv", "decoder_cosine", DecoderCosineBins)
