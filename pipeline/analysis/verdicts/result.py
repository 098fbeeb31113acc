"""What `results/latent_scaling.json` and `results/latents.parquet` hold."""

from typing_extensions import TypedDict

from pipeline.analysis.verdicts.columns import VerdictColumns
from pipeline.results import ResultFile


class ArtefactCounts(TypedDict):
    """Latents that the norms call exclusive and both models have, by why the norms are wrong."""

    complete_shrinkage: int
    latent_decoupling: int
    both: int


class MinderCounts(TypedDict):
    """Live latents that Delta calls exclusive, and those of them whose nu are small."""

    by_delta: int
    of_these_specific: int


class MinderRule(TypedDict):
    """The rule of Minder et al. 2025, without uncertainty."""

    it_only: MinderCounts
    base_only: MinderCounts


class Exceptions(TypedDict):
    """Latents that the norms call shared (0.3 < r < 0.7) although their decoders point apart: the
    cosine is below 0.1, or negative; and the verdicts of these."""

    shared_by_norm: int
    low_cosine: int
    negative_cosine: int
    verdicts: dict[str, int]


class VerdictCounts(TypedDict):
    """Counts of verdicts, of artefacts, and of norm bins beside verdicts. in_both: latents that
    both models surely have, whatever their verdict."""

    space: str
    window_tokens: int
    confidence: float
    max_false_discovery_rate: float
    shared: int
    stronger: int
    weaker: int
    turned: int
    moved: int
    base_only: int
    it_only: int
    undecided: int
    dead: int
    in_both: int
    tested: int
    largest_q_exclusive: float | None
    present_in_other: int
    artefacts: ArtefactCounts
    called_exclusive_by_norm: int
    of_these_confirmed: int
    of_these_refuted: int
    exclusive_but_not_by_norm: int
    minder_rule: MinderRule
    exceptions: Exceptions


VERDICT_COUNTS = ResultFile("latent_scaling.json", "latent_scaling", VerdictCounts)
VERDICTS = ResultFile("latents.parquet", "latent_scaling", VerdictColumns)
