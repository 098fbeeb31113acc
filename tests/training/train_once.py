"""A small training run in a process of its own, to be killed: `train_once KIND FOLDER`."""

import sys
import time
from pathlib import Path

from pipeline.runtime import set_threads
from pipeline.training.training import is_finished, read_outcome
from tests.training.planted_rows import make_training


def main() -> None:
    set_threads(1)
    training = make_training(Path(sys.argv[2]), sys.argv[1], n_rows=3000, checkpoint_every_steps=1)

    def report(n: int, **figures: float) -> None:
        time.sleep(0.005)

    if not is_finished(training.folder):
        run = training.start()
        sys.stdout.write(f"at step {run.step}\n")
        sys.stdout.flush()
        run.train(report)
        training.write(run, provenance={})
    read_outcome(training.folder)


if __name__ == "__main__":
    main()
