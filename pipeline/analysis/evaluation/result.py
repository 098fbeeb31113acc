"""What `results/evaluation.json` and `results/latents.csv` hold."""

from collections.abc import Iterable
from typing import Annotated, NotRequired

from typing_extensions import TypedDict

from pipeline.results import Counts, Measured, NotApplicable, Numbers, ResultFile, Words, table


class Reconstruction(TypedDict):
    """How well rows are rebuilt: see `table.reconstruction_table`."""

    n_tokens: int
    l0: Measured
    fve_base: Measured
    fve_it: Measured
    fve_difference: Measured
    fve_both: Measured
    difference_share: Measured
    reference_ev_base: Measured
    reference_ev_it: Measured
    reference_ev_both: Measured


class Spliced(TypedDict):
    """What a model loses when it runs on from rebuilt rows: see `table.splice_table`."""

    n_predictions: int
    ce_clean: Measured
    ce_spliced: Measured
    ce_zero: Measured
    ce_mean: Measured
    ce_spliced_with_bos: Measured
    ce_zero_with_bos: Measured
    delta_ce_spliced: Measured
    delta_ce_zero: Measured
    delta_ce_mean: Measured
    delta_ce_spliced_with_bos: Measured
    delta_ce_zero_with_bos: Measured
    kl_spliced: Measured
    kl_zero: Measured
    kl_mean: Measured
    kl_spliced_with_bos: Measured
    kl_zero_with_bos: Measured
    ce_recovered_zero: Measured
    ce_recovered_mean: Measured
    ce_recovered_zero_with_bos: Measured
    kl_recovered_zero: Measured
    kl_recovered_mean: Measured
    kl_recovered_zero_with_bos: Measured


class PublishedRun(TypedDict):
    """Published numbers of one crosscoder; what a source does not give is left out."""

    name: str
    source: NotRequired[str]
    n_latents: int
    l0: NotRequired[float | None]
    fve: NotRequired[float | None]
    explained_variance_per_token: NotRequired[float | None]
    it_only: int
    base_only: int


class Published(TypedDict):
    """is_this_pair: whether the runs are of the experiment's own models."""

    is_this_pair: bool
    rows: list[PublishedRun]


SpliceTable = dict[str, dict[str, Spliced]]
"""base, it, both -> group of tokens -> figures."""


class Evaluation(TypedDict):
    """reconstruction: group of tokens -> figures; units: figure -> its definition."""

    units: dict[str, str]
    confidence: float
    window_tokens: int
    dead_latents: int
    n_latents: int
    l0_training: float | None
    l0_gap: Measured
    reconstruction: dict[str, Reconstruction]
    n_sequences_spliced: int
    splice: SpliceTable | NotApplicable
    published: Published


class LatentColumns(TypedDict, extra_items=Numbers):
    """A row per latent, in dictionary order; and `rate_<source>`, the rate among the tokens of each
    source, by its name in mix.shares: see `source_rates`."""

    latent: Annotated[Counts, "index in the dictionary"]
    bin: Annotated[
        Words,
        "dead (never active in the window), else base_only (r < 1/6), shared (0.3 < r < 0.7), "
        "it_only (r > 5/6) or between",
    ]
    relative_norm: Annotated[
        Numbers, "r = ||d_it|| / (||d_base|| + ||d_it||), normalised space, 0 to 1"
    ]
    delta: Annotated[Numbers, "(1 + (||d_it|| - ||d_base||) / max) / 2, normalised space, 0 to 1"]
    decoder_cosine: Annotated[Numbers, "cosine of d_base and d_it, -1 to 1"]
    norm_base: Annotated[Numbers, "||d_base||, normalised activation units per unit of the latent"]
    norm_it: Annotated[Numbers, "||d_it||, normalised activation units per unit of the latent"]
    rate_all: Annotated[Numbers, "share of the window's tokens on which the latent is active"]
    rate_other: Annotated[Numbers, "the same among tokens that are not template"]
    rate_template: Annotated[Numbers, "the same among template tokens"]
    mean_active: Annotated[Numbers, "mean value where active"]
    max_active: Annotated[Numbers, "largest value"]


def source_rates(latents: LatentColumns, sources: Iterable[str]) -> dict[str, Numbers]:
    """Source -> share of its tokens on which each latent is active."""
    columns = table(latents)
    return {source: columns[f"rate_{source}"] for source in sources}


EVALUATION = ResultFile("evaluation.json", "evaluate", Evaluation)
LATENTS = ResultFile("latents.csv", "evaluate", LatentColumns)
