"""Small runs of the named variants, one after the other, in a process to be killed.

A checkpoint follows each step. The process dies by signal 9 where its last argument says: soon
after a step of a variant, `KIND:STEP`, or at a moment of the tenth checkpoint's write.
"""

import os
import signal
from pathlib import Path
from typing import Any

from pipeline.crosscoder import tensor_files
from pipeline.runtime import set_threads
from pipeline.training.training import is_finished, read_outcome
from tests.forks import die_soon
from tests.training.planted_rows import make_training

N_ROWS = 2000
MOMENTS = ("half written", "written", "renamed")


def train(kind: str, folder: Path, death: str) -> None:
    training = make_training(folder, kind, n_rows=N_ROWS, checkpoint_every_steps=1)
    if not is_finished(folder):
        run = training.start()

        def report(n: int, **figures: float) -> None:
            if f"{kind}:{run.step}" == death:
                die_soon()

        run.train(report)
        training.write(run, provenance={})
    read_outcome(folder)


def kill_in_checkpoint(moment: str, n_whole: int = 9) -> None:
    """Die after `n_whole` checkpoints, inside the next: half of its file there, the whole file
    not flushed nor renamed, or renamed and its folder not flushed."""
    save_file, sync = tensor_files.safetensors.torch.save_file, tensor_files.sync
    written = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def save(tensors: Any, path: Path, **rest: Any) -> None:
        nonlocal written
        save_file(tensors, path, **rest)
        written += 1
        if written > n_whole and moment == "half written":
            os.truncate(path, path.stat().st_size // 2)
            die()
        if written > n_whole and moment == "written":
            die()

    def flush(path: Path) -> None:
        if written > n_whole and moment == "renamed" and path.is_dir():
            die()
        sync(path)

    tensor_files.safetensors.torch.save_file = save
    tensor_files.sync = flush


def main(arguments: list[str]) -> None:
    folder, *kinds, death = arguments
    set_threads(1)
    if death in MOMENTS:
        kill_in_checkpoint(death)
    for kind in kinds:
        train(kind, Path(folder) / kind, death)
