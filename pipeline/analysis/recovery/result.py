"""What `results/recovery.json` and the two tables of the recovery hold."""

from typing_extensions import TypedDict

from pipeline.analysis.decoders.geometry import CRITERIA
from pipeline.columns import Table
from pipeline.plant.features import COLUMNS as PLANTED_COLUMNS
from pipeline.results import ResultFile


class Rates(TypedDict):
    """Recall and false discoveries: see `scores`. Rates are None where nothing was to be found."""

    n_features: int
    n_found: int
    n_recalled: int
    n_called: int
    n_false: int
    n_border: int
    recall: float | None
    precision: float | None
    f1: float | None
    fdr: float | None
    fdr_strict: float | None


ByFrequency = dict[str, Rates]
"""all, common, rare and each decade of the rate -> rates."""


class CriterionScores(TypedDict):
    """exclusive: base_only, it_only and exclusive (both) -> rates; kinds: planted kind -> rates."""

    exclusive: dict[str, ByFrequency]
    kinds: dict[str, ByFrequency]


class VerdictScores(TypedDict):
    """kinds: verdict -> rates; confusion: planted kind -> verdict, undecided, dead or not found ->
    features; n_wrong: features that get a verdict of another kind. See `kinds`."""

    kinds: dict[str, ByFrequency]
    confusion: dict[str, dict[str, int]]
    n_wrong: int


class ArtefactScores(TypedDict):
    """Latents with a known artefact, and what nu calls them: see `scores.artefact_scores`."""

    n: int
    n_flagged: int
    n_undecided: int
    n_at_limit: int
    n_fooled: int
    share_flagged: float | None
    share_flagged_beyond: float | None


class GainScores(TypedDict):
    """True and estimated nu of features that both models have: see `scores.gain_scores`."""

    n: int
    nu_true: float
    nu_eps_median: float
    mean_absolute_error: float
    share_in_interval: float


class Recovery(TypedDict):
    """criteria: nu, and the published criteria by norm -> scores; gains: by planted kind."""

    n_features: int
    n_found: int
    n_latents_without_feature: int
    criteria: dict[str, CriterionScores]
    verdicts: VerdictScores
    artefacts: dict[str, ArtefactScores]
    gains: dict[str, GainScores]


RECOVERY = ResultFile("recovery.json", "recovery", Recovery)


NU, VERDICT = "nu", "verdict"
CRITERION_COLUMNS = (
    *(f"by_norm_{criterion.name}" for criterion in CRITERIA),
    *(f"by_{NU}", f"by_{VERDICT}"),
)
FEATURE_COLUMNS = (
    *PLANTED_COLUMNS,
    *("truth", "change", "decade", "n_active_rows", "latent", "correlation", "direction_cosine"),
    *("n_latents", *CRITERION_COLUMNS, "nu_true", "nu_eps", "nu_eps_low", "nu_eps_high"),
    "frequency",
)
LATENT_COLUMNS = (
    *("latent", "feature", "kind", "truth", "change", "rate", "nu_true", "correlation"),
    "direction_cosine",
    *(*CRITERION_COLUMNS, "decade", "artefact", "frequency"),
)


def without_truth() -> tuple[Table, Table]:
    """The tables of features and of latents where nothing is planted: their columns, no row."""
    features: Table = {name: [] for name in FEATURE_COLUMNS}
    latents: Table = {name: [] for name in LATENT_COLUMNS}
    return features, latents
