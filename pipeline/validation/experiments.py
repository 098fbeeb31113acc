"""Which experiments the validation is made of, and the workspace of each."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.validation import ValidationConfig
from pipeline.stage import (
    ACTIVATIONS,
    HELDOUT_ACTIVATIONS,
    MADE_BY,
    MODELS,
    PLANT,
    RESULTS,
    SHUFFLED,
    TOKENS,
)
from pipeline.workspace import Workspace

VALIDATION = Path("data/validation")
ROWS = (MODELS, TOKENS, ACTIVATIONS, HELDOUT_ACTIVATIONS, PLANT, SHUFFLED)
Json = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """Stages run in one process in the workspace `name`, on artifacts of the workspace `of`."""

    name: str
    stages: str
    overrides: tuple[str, ...]
    of: str | None = None
    linked: tuple[Path, ...] = ROWS

    def run(self) -> None:
        linked = {path: MADE_BY[path] for path in self.linked} if self.of else {}
        origin = VALIDATION / self.of if self.of else Path()
        workspace = Workspace(VALIDATION / self.name, linked, origin)
        workspace.run(self.stages.split(","), self.overrides)

    def result(self, file: str) -> Json:
        """A JSON file that the stages left."""
        return json.loads((VALIDATION / self.name / RESULTS / file).read_text())


def run_all(experiments: Sequence[Experiment], n_workers: int, done: Callable[[int], None]) -> None:
    """Run what is not done yet, so many at a time. done: told of each that ends"""
    with ThreadPoolExecutor(n_workers) as pool:
        try:
            for _ in pool.map(Experiment.run, experiments):
                done(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what has not begun need not begin
            raise


MAKE_ROWS = "models,mix,dump,shuffle"
JUDGE = "train,evaluate,latent_scaling"
SCORE = f"{JUDGE},recovery"


@dataclass(frozen=True)
class Plan:
    """Every experiment. rows come first, then pairs of rows and then what is judged on them."""

    rows: list[Experiment]
    paired: list[Experiment]
    variants: dict[str, list[Experiment]]
    extra: dict[str, Experiment]
    nulls: dict[str, dict[str, dict[str, Experiment]]]
    on_activations: dict[str, Experiment]

    def judged(self) -> list[Experiment]:
        """All that trains a crosscoder."""
        nulls = [e for origin in self.nulls.values() for p in origin.values() for e in p.values()]
        planted = [experiment for runs in self.variants.values() for experiment in runs]
        return [*planted, *self.extra.values(), *self.on_activations.values(), *nulls]


def plan(config: ValidationConfig) -> Plan:
    """The experiments that a configuration asks for."""
    common = tuple(config.overrides)
    rows = [
        Experiment(f"rows_{seed}", MAKE_ROWS, (*common, f"seed={seed}")) for seed in config.seeds
    ]

    def judged(name: str, seed: int, chosen: list[str], stages: str = SCORE) -> Experiment:
        overrides = (*common, f"seed={seed}", *chosen)
        return Experiment(name, stages, overrides, f"rows_{seed}")

    variants = {
        variant: [judged(f"{variant}_{seed}", seed, chosen) for seed in config.seeds]
        for variant, chosen in config.variants.items()
    }
    first = config.seeds[0]
    extra = {name: judged(f"extra_{name}", first, chosen) for name, chosen in config.extra.items()}
    if config.n_agreement_runs > 1:
        variant = config.variants.get("BatchTopK") or next(iter(config.variants.values()))
        chosen = [*variant, f"seeds.n_runs={config.n_agreement_runs}"]
        stages = f"{SCORE},seed_runs,seeds"
        extra["agreement"] = judged("agreement", first, chosen, stages)
    nulls = {}
    planted = (*common, *config.null_overrides)
    paired, nulls["planted"] = _nulls(config, "planted", planted, None)
    on_activations: dict[str, Experiment] = {}
    if config.activations:
        base = tuple(config.activations)
        rows.append(Experiment("rows_activations", MAKE_ROWS, base))
        on_activations = {
            variant: Experiment(
                f"activations_{variant}",
                SCORE,
                (*base, *config.variants[variant]),
                "rows_activations",
            )
            for variant in config.activations_variants
        }
        overrides = (*base, "plant=none")
        of_activations, nulls["activations"] = _nulls(
            config, "activations", overrides, "rows_activations"
        )
        paired += of_activations
    return Plan(rows, paired, variants, extra, nulls, on_activations)


def _nulls(
    config: ValidationConfig, origin: str, base: tuple[str, ...], of: str | None
) -> tuple[list[Experiment], dict[str, dict[str, Experiment]]]:
    """The rows of every pairing; and pairing -> variant -> the crosscoder judged on them."""
    rows, judged = [], {}
    for pairing in config.null_pairings:
        name = f"null_{origin}_{pairing}"
        overrides = (*base, f"dump.pairing={pairing}")
        stages, linked = (MAKE_ROWS, ()) if of is None else ("dump,shuffle", (MODELS, TOKENS))
        rows.append(Experiment(name, stages, overrides, of, linked))
        judged[pairing] = {
            variant: Experiment(
                f"{name}_{variant}", JUDGE, (*overrides, *config.variants[variant]), name
            )
            for variant in config.null_variants
        }
    return rows, judged
