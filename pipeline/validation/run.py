"""Runs the experiments of the validation and gathers their results."""

from collections.abc import Callable

from pipeline.config import Config
from pipeline.progress import Progress
from pipeline.validation.experiments import Experiment, Json, Plan, plan, run_all
from pipeline.validation.scores import ABOUT, combined, interval, null_counts, targets


def validate(config: Config) -> Json:
    """Run what is not done yet, and everything of `results/validation.json`."""
    planned = plan(config.validation)
    steps = (planned.rows, planned.paired, planned.judged())
    n = sum(map(len, steps))
    with Progress("validation", total=n, unit="experiments") as progress:
        for step in steps:
            run_all(step, config.validation.n_workers, progress.advance)
    return gathered(config, planned)


def gathered(config: Config, planned: Plan) -> Json:
    """The validation of finished experiments."""
    confidence = config.latent_scaling.confidence
    validation: Json = {
        "about": ABOUT,
        "confidence": confidence,
        "seeds_planted": config.validation.seeds,
        "variants": {name: _scored(runs, confidence) for name, runs in planned.variants.items()},
        "other_dictionaries": {
            name: _scored([run], confidence)
            for name, run in planned.extra.items()
            if name != "agreement"
        },
        "on_activations": {
            name: _scored([run], confidence) for name, run in planned.on_activations.items()
        },
        "nulls": {
            origin: {
                pairing: {variant: _null(run) for variant, run in variants.items()}
                for pairing, variants in pairings.items()
            }
            for origin, pairings in planned.nulls.items()
        },
    }
    if "agreement" in planned.extra:
        validation["seeds"] = planned.extra["agreement"].result("seeds.json")
    max_fdr = config.latent_scaling.max_false_discovery_rate
    return validation | {"targets": targets(validation, max_fdr)}


def _null(run: Experiment) -> Json:
    return null_counts(run.result("latent_scaling.json"))


def _scored(runs: list[Experiment], confidence: float) -> Json:
    evaluations = [run.result("evaluation_summary.json") for run in runs]

    def over_seeds(figure: Callable[[Json], float]) -> Json:
        found = interval([figure(e) for e in evaluations], confidence)
        return {"value": found["value"], "seeds": found["seeds"]}

    return {
        "l0": over_seeds(lambda e: e["l0"]),
        "fve": over_seeds(lambda e: (e["fve_base"] + e["fve_it"]) / 2),
        "dead_latents": over_seeds(lambda e: e["dead_latents"]),
        **combined([run.result("recovery.json") for run in runs], confidence),
    }
