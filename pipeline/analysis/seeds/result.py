"""What `results/seeds.json` and `results/seeds.csv` hold."""

from typing import Annotated

from typing_extensions import TypedDict

from pipeline.results import Counts, Measured, Numbers, ResultFile, Words


class Mmcs(Measured):
    """Mean over a verdict's latents of the largest cosine with a latent of the other run.

    rotated: the same with the other run's decoders rotated at random
    """

    n_latents: int
    rotated: float | None


Matched = TypedDict(
    "Matched",
    {"n_pairs": int, "mean_cosine": float, "share_above_0.9": float, "share_above_0.7": float},
)
"""Latents of two runs, paired one to one with the largest sum of cosines."""


class Agreement(TypedDict):
    """Of the verdicts of matched latents. counts: verdict in one run -> in the other -> pairs."""

    n_pairs: int
    agreement: Measured
    kappa: Measured
    counts: dict[str, dict[str, int]]


class ByChance(TypedDict):
    """Overlap of random subspaces of the same ranks."""

    mean: float
    low: float
    high: float


class Overlap(TypedDict):
    """Of the spans of the decoders of one verdict: see `compare`."""

    n_latents: list[int]
    rank: list[int]
    overlap: float | None
    random: ByChance | None
    principal_angles_degrees: list[float]


Compared = TypedDict(
    "Compared",
    {
        "n_live": list[int],
        "mmcs": dict[str, Mmcs],
        "matched": Matched,
        "verdicts": Agreement,
        "verdicts_where_cosine_above_0.7": Agreement,
        "subspaces": dict[str, Overlap],
    },
)
"""Everything two runs have in common. mmcs, subspaces: by verdict."""


class Pair(Compared):
    """runs: numbers of the two, 0 being the experiment's own crosscoder."""

    runs: list[int]


class Summary(TypedDict):
    """Means over the pairs of runs; None where no pair has the figure."""

    mmcs: dict[str, float | None]
    agreement: float | None
    kappa: float | None
    overlap: dict[str, float | None]


class Seeds(TypedDict):
    """columns: what each column of `seeds.csv` holds."""

    applicable: bool
    n_runs: int
    confidence: float
    columns: dict[str, str]
    summary: Summary
    pairs: list[Pair]


class SeedColumns(TypedDict):
    """A row per pair of runs and verdict."""

    run_a: Annotated[Counts, "number of the first run; 0 is the experiment's own crosscoder"]
    run_b: Annotated[Counts, "number of the second run"]
    verdict: Annotated[Words, "verdict of the latents in the run they are counted in, or all"]
    n_latents: Annotated[Counts, "latents of both runs that the mean is over"]
    mmcs: Annotated[Numbers, "mean of each latent's largest cosine with a latent of the other run"]
    low: Annotated[Numbers, "lower end of its interval over latents"]
    high: Annotated[Numbers, "upper end of its interval over latents"]
    mmcs_rotated: Annotated[
        Numbers, "the same with the other run's decoders rotated at random: chance"
    ]


SEEDS = ResultFile("seeds.json", "seeds", Seeds)
SEED_COLUMNS = ResultFile("seeds.csv", "seeds", SeedColumns)
