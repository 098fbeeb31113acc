"""The columns of the two tables of the recovery, which an experiment without a plant has too."""

from pipeline.analysis.decoders.geometry import CRITERIA
from pipeline.columns import Table
from pipeline.plant.features import COLUMNS as PLANTED_COLUMNS

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
