"""What `results/baselines.json` holds."""

from typing import NotRequired

from typing_extensions import TypedDict

from pipeline.analysis.causal.result import Patches
from pipeline.results import Measured, NotApplicable, ResultFile


class DiffSae(TypedDict):
    """The dictionary of the difference alone."""

    n_latents: int
    k: int


class MeanDifference(TypedDict):
    """The mean of h_IT - h_base over a group of tokens: see `difference.UNITS`."""

    n_tokens: int
    norm_mean_base: float
    norm_mean_it: float
    norm_mean_difference: float
    norm_root_mean_square: float
    cosine_means: float | None
    cosine_with_all: float | None
    share: float | None


class MeanLens(TypedDict):
    """Tokens and logits that the mean difference writes, the furthest first."""

    promoted: list[tuple[str, float]]
    suppressed: list[tuple[str, float]]


class Explained(TypedDict):
    """Of one estimate of the difference. beyond_mean: of all but the mean; l0: of dictionaries."""

    explained: Measured
    beyond_mean: NotRequired[Measured]
    l0: NotRequired[Measured]


class ExplainedOn(TypedDict):
    """What each estimate explains of the difference on a group of tokens."""

    n_tokens: int
    mean: Explained
    cell_mean: Explained
    crosscoder: Explained
    diff_sae: Explained


class BaselineCausal(TypedDict):
    """The causal test's figures for what each estimate adds to the base activation."""

    units: dict[str, str]
    n_sequences: int
    patches: Patches


class Baselines(TypedDict):
    """Per group of tokens: the mean difference, its logit lens, and what is explained."""

    units: dict[str, str]
    confidence: float
    diff_sae: DiffSae
    mean_difference: dict[str, MeanDifference]
    mean_difference_lens: dict[str, MeanLens] | NotApplicable
    explained: dict[str, ExplainedOn]
    causal: BaselineCausal | NotApplicable


BASELINES = ResultFile("baselines.json", "baselines", Baselines)
