"""What `results/causal.json` and `results/causal.csv` hold."""

from typing import NotRequired

from typing_extensions import TypedDict

from pipeline.results import Counts, Maybe, Measured, ResultFile, Words


class CausalFigures(TypedDict):
    """Of one patch on one group of tokens: see `table.UNITS`. over_random: where the patch stands
    beside random sets."""

    n_predictions: int
    kl: Measured
    removed: Measured
    over_random: NotRequired[Measured]


class Patched(TypedDict):
    """tokens: group of tokens -> figures; n_latents: None where no set of latents is meant."""

    n_latents: int | None
    tokens: dict[str, CausalFigures]


Patches = dict[str, Patched]


class Causal(TypedDict):
    """sets: set of latents -> its description; controls: what must hold for any crosscoder."""

    units: dict[str, str]
    sets: dict[str, str]
    confidence: float
    n_sequences: int
    n_first_tokens: int
    n_draws: int
    controls: dict[str, float | None]
    patches: Patches


class CausalColumns(TypedDict):
    """A row per patch and group of tokens."""

    patch: Words
    tokens: Words
    n_latents: list[int | None]
    n_predictions: Counts
    kl: Maybe
    kl_low: Maybe
    kl_high: Maybe
    removed: Maybe
    removed_low: Maybe
    removed_high: Maybe
    over_random: Maybe
    over_random_low: Maybe
    over_random_high: Maybe


CAUSAL = ResultFile("causal.json", "causal", Causal)
CAUSAL_COLUMNS = ResultFile("causal.csv", "causal", CausalColumns)
