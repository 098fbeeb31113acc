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


class PositionRead(TypedDict):
    """Planted words among the tokens that a position's mean difference promotes in a model; how
    many random directions promote, mean and highest, and the share of them, the position's own
    counted, that promote as many."""

    words: list[str]
    random_mean: float
    random_highest: int
    p_value: float


class Position(TypedDict):
    """The mean difference at a position of unrelated text, 1 being the first token, in raw units:
    its length, root mean squares of a row's difference and of either model's row, and tokens with
    logits. read: by model, where a behaviour was planted."""

    position: int
    norm_difference: float
    norm_root_mean_square: float
    norm_base: float
    norm_it: float
    promotes_in_base: list[tuple[str, float]]
    suppresses_in_base: list[tuple[str, float]]
    promotes_in_it: list[tuple[str, float]]
    suppresses_in_it: list[tuple[str, float]]
    read: dict[str, PositionRead]


class Positions(TypedDict):
    """planted_words: tokens of the trigger and of the planted reply."""

    n_documents: int
    n_draws: int
    planted_words: list[str]
    positions: list[Position]


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
    positions: Positions | NotApplicable
    explained: dict[str, ExplainedOn]
    causal: BaselineCausal | NotApplicable


BASELINES = ResultFile("baselines.json", "baselines", Baselines)
