"""Train the same crosscoder again under other seeds, to see what does not depend on the seed.

    python -m stages.seed_runs                  # composed.yaml, as `dvc repro` does
    python -m stages.seed_runs +experiment=seeds seeds.n_runs=2

reads   data/shuffled.zarr, data/heldout_activations.zarr (for a calibrated threshold); where rows
        come in rounds, data/models and data/tokens.zarr
writes  data/seeds/: run_1, run_2, ... as data/crosscoder is; run 0 is data/crosscoder itself
cost    `seeds.n_runs` - 1 trainings, each resumable; nothing where seeds.n_runs is 1. In rounds
        every training makes all rows again
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import HELDOUT_ACTIVATIONS, SEEDS, Stage, paths_of, run

STAGE = Stage(
    name="seed_runs",
    sections=("seeds", "crosscoder", "train"),
    inputs=paths_of("shuffled", "heldout_activations", "models", "tokens"),
    outputs={"seeds": SEEDS},
    resumes=True,
    memory_keys=("train.batch_rows",),
    format_version=2,
)


def main(config: Config) -> None:
    with STAGE.build(config, "seeds") as build:
        if build.complete:
            return
        from pipeline.rounds.opening import clear_rounds

        trained = config.crosscoder.kind != "pretrained"
        if trained and config.seeds.n_runs > 1:
            train_all(config, build.work, build.manifest.lineage)
        clear_rounds(config)
        build.publish(counts={"n_runs": config.seeds.n_runs if trained else 1}, facts={})


def train_all(config: Config, work: Path, provenance: Mapping[str, Any]) -> None:
    """Every run but the first, one after the other, in folders of their own below `work`."""
    from pipeline.rounds.opening import training_rows
    from pipeline.store import StoreReader
    from pipeline.training.seeds import other_seeds, train_seed
    from pipeline.training.training import Training

    assert config.crosscoder.kind != "pretrained"
    set_threads(config.runtime.n_threads)
    with training_rows(config) as rows, StoreReader.open(HELDOUT_ACTIVATIONS) as heldout:
        first = Training(
            crosscoder=config.crosscoder,
            train=config.train,
            source=rows.source,
            rounds=rows.rounds,
            heldout=heldout,
            folder=work,
            device=resolve_device(config.runtime.device),
        )
        for number, training in other_seeds(first, config.seeds.n_runs):
            train_seed(training, f"seed_{number}", provenance)


if __name__ == "__main__":
    run(STAGE, main)
