"""Small runs of the named variants, one after the other, in a process to be killed.

    python -m tests.training.train_once FOLDER KIND...

Tells each step as `KIND STEP` and checkpoints after it.
"""

import sys
from pathlib import Path

from pipeline.runtime import set_threads
from pipeline.training.training import is_finished, read_outcome
from tests.training.planted_rows import make_training

N_ROWS = 2000


def train(kind: str, folder: Path) -> None:
    training = make_training(folder, kind, n_rows=N_ROWS, checkpoint_every_steps=1)
    if not is_finished(folder):
        run = training.start()

        def report(n: int, **figures: float) -> None:
            sys.stdout.write(f"{kind} {run.step}\n")
            sys.stdout.flush()

        run.train(report)
        training.write(run, provenance={})
    read_outcome(folder)


def main() -> None:
    set_threads(1)
    for kind in sys.argv[2:]:
        train(kind, Path(sys.argv[1]) / kind)


if __name__ == "__main__":
    main()
