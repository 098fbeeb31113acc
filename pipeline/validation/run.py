"""Runs the experiments of the validation and gathers their results."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pipeline.config import Config
from pipeline.progress import Progress
from pipeline.validation.experiments import Experiment, Json, Plan, plan
from pipeline.validation.scores import ABOUT, combined, interval, null_counts, targets


def validate(config: Config) -> Json:
    """Run what is not done yet, and everything of `results/validation.json`."""
    planned = plan(config.validation)
    everything = [*planned.rows, *planned.paired, *planned.judged()]
    with (
        ThreadPoolExecutor(config.validation.n_workers) as pool,
        Progress("validation", total=len(everything), unit="experiments") as progress,
    ):
        try:
            for step in (planned.rows, planned.paired, planned.judged()):
                for _ in pool.map(Experiment.run, step):
                    progress.advance(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what has not begun need not begin
            raise
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
        "nulls": _map_nulls(planned, lambda run: null_counts(run.result("latent_scaling.json"))),
    }
    if "agreement" in planned.extra:
        validation["seeds"] = planned.extra["agreement"].result("seeds.json")
    max_fdr = config.latent_scaling.max_false_discovery_rate
    return validation | {"targets": targets(validation, max_fdr)}


def _map_nulls(planned: Plan, figure: Callable[[Experiment], Json]) -> Json:
    return {
        origin: {
            pairing: {variant: figure(run) for variant, run in variants.items()}
            for pairing, variants in pairings.items()
        }
        for origin, pairings in planned.nulls.items()
    }


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
