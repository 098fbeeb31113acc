"""Small runs in several processes, each rank with one thread, or in those that torchrun starts:

    python -m torch.distributed.run --standalone --nproc-per-node=2 \
        -m tests.training.several_processes FOLDER KIND-SHARD...

The first rank tells each step as `KIND-SHARD STEP PID...`, with the processes of all ranks.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from pipeline import distributed
from pipeline.distributed import Mesh, Shard, joined, world
from pipeline.errors import PipelineError
from pipeline.runtime import set_threads
from pipeline.stage import tell
from pipeline.training.training import Training, is_finished
from tests.training.planted_rows import N_ROWS, crosscoder_config, make_training

ANSWER_SECONDS = 60.0


def job(folder: Path, kind: str, shard: Shard) -> Training:
    """Nearly two epochs in batches and of latents that two do not divide; the last batch is one
    row. Most latents of BatchTopK are dead."""
    training = make_training(
        folder,
        kind,
        n_rows=2 * N_ROWS - 35,
        batch_rows=61,
        dead_after_rows=122,
        checkpoint_every_steps=5,
    )
    crosscoder = crosscoder_config(kind, n_latents=121)
    return replace(training, crosscoder=crosscoder, mesh=Mesh.of(world(), shard))


def train(name: str, folder: Path) -> None:
    kind, _, shard = name.partition("-")
    assert shard in ("data", "latents")
    training = job(folder, kind, shard)
    if world().from_first(lambda: is_finished(folder)):
        return
    run = training.start()
    pids = torch.stack(world().gathered(torch.tensor(os.getpid()))).tolist()

    def report(n: int, **figures: float) -> None:
        if world().is_first:
            print(name, run.step, *pids, flush=True)

    run.train(report)
    training.write(run, provenance={})


def main(arguments: list[str]) -> None:
    distributed.SMALL_BYTES = 2**10  # gradients of this size are summed while others are computed
    set_threads(1)
    try:
        with joined(ANSWER_SECONDS, "cpu"):
            for name in arguments[1:]:
                train(name, Path(arguments[0]) / name)
    except PipelineError as error:
        tell(f"error: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
