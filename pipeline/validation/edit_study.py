"""Many pairs with known edits on one base model, and null pairs of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.analysis.edits.result import EDITS, EditScores
from pipeline.config.edit_study import EditStudyConfig
from pipeline.paths import expanded
from pipeline.stage import MODELS, RESULTS
from pipeline.validation.experiments import VALIDATION, Experiment

STAGES = "models,mix,dump,shuffle,train,evaluate,latent_scaling,baselines,changes,edits"


def base_of(study: EditStudyConfig) -> Experiment:
    """The experiment that makes the base model."""
    return Experiment("edits_base", "models", tuple(study.base))


def base_folder(study: EditStudyConfig) -> Path:
    """Where the base model lies, once it is made."""
    if study.base_model is not None:
        return expanded(study.base_model).absolute()
    return (VALIDATION / base_of(study).name / MODELS / "base").absolute()


def pairs_of(study: EditStudyConfig) -> list[Experiment]:
    """The pair of every seed."""
    path = f"models.base.path={base_folder(study)}"
    return [
        Experiment(f"edits_{seed}", STAGES, (*study.overrides, path, f"seed={seed}"))
        for seed in study.seeds
    ]


def scored(study: EditStudyConfig, done: Callable[[int], None]) -> list[EditScores]:
    """Run what is not done yet, and `edits.json` of every pair. done: told of each that ends"""
    if study.base_model is None:
        base_of(study).run()
    pairs = pairs_of(study)
    with ThreadPoolExecutor(study.n_workers) as pool:
        try:
            for _ in pool.map(Experiment.run, pairs):
                done(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what has not begun need not begin
            raise
    return [EDITS.read(VALIDATION / pair.name / RESULTS) for pair in pairs]
