"""The same training again under other seeds: other initial weights, other order of later epochs."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipeline.progress import Progress
from pipeline.stage import seed_folder
from pipeline.training.training import Training, is_finished, read_outcome


def other_seeds(training: Training, n_runs: int) -> Iterator[tuple[int, Training]]:
    """Runs 1 to n_runs - 1 of a training that is run 0: each with its own folder and seeds."""
    for run in range(1, n_runs):
        yield (
            run,
            replace(
                training,
                crosscoder=training.crosscoder.model_copy(
                    update={"seed": training.crosscoder.seed + run}
                ),
                train=training.train.model_copy(update={"seed": training.train.seed + run}),
                folder=seed_folder(training.folder, run),
            ),
        )


def train_seed(training: Training, name: str, provenance: Mapping[str, Any]) -> None:
    """Train one run in its folder, going on where a killed one left off; nothing where it is done.

    name: of its progress and log
    """
    if not is_finished(training.folder):
        training.folder.mkdir(parents=True, exist_ok=True)
        job = training.start()
        with Progress(name, total=training.n_rows, unit="rows", start=job.n_rows) as progress:
            job.train(progress.advance)
        training.write(job, provenance=provenance)
    read_outcome(training.folder)
