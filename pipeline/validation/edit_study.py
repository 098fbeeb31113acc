"""Many pairs with known edits on one base model, and null pairs of it."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from pipeline.analysis.edits.null import null_lists
from pipeline.analysis.edits.result import EDITS, EditScores
from pipeline.config import Config, compose
from pipeline.config.validation import EditStudyConfig
from pipeline.models.load import load_model
from pipeline.models.start import read_start
from pipeline.paths import expanded
from pipeline.progress import Progress
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import MODELS, RESULTS, TOKENS
from pipeline.store import StoreReader
from pipeline.validation.edit_scores import Limited, limited
from pipeline.validation.experiments import VALIDATION, Experiment, run_all

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
    run_all(pairs, study.n_workers, done)
    return [EDITS.read(VALIDATION / pair.name / RESULTS) for pair in pairs]


def null_pairs(config: Config) -> dict[str, Limited]:
    """Kind of null pair -> lists that are not empty; of the base model of the first pair, on its
    text."""
    set_threads(config.runtime.n_threads)
    study = config.edit_study
    first = pairs_of(study)[0]
    folder, of_pair = VALIDATION / first.name, compose(list(first.overrides))
    model = load_model(
        folder / MODELS,
        "base",
        dtype="float32",
        attention=of_pair.hook_point.attention,
        device=resolve_device(config.runtime.device),
        n_layers=of_pair.hook_point.layer,
    )
    with StoreReader.open(folder / TOKENS, n_threads=config.runtime.io_threads) as tokens:
        token_ids = tokens.read("token_id", 0, study.n_null_sequences)
    listed = defaultdict(list)
    seeds = range(study.seed, study.seed + study.n_null_seeds)
    with Progress("null_pairs", total=1 + 2 * len(seeds), unit="pairs") as progress:
        for kind, _seed, n_listed in null_lists(
            model,
            token_ids,
            of_pair.hook_point.layer,
            read_start(folder / MODELS).id,
            of_pair.changes,
            seeds,
        ):
            listed[kind].append(n_listed)
            progress.advance(1)
    return {
        kind: limited(sum(n > 0 for n in counts), len(counts), study.confidence)
        for kind, counts in listed.items()
    }
