"""Small runs in several processes, each rank with one thread, or in those that torchrun starts:

    python -m torch.distributed.run --standalone --nproc-per-node=2 \
        -m tests.training.several_processes FOLDER KIND-SHARD[-rounds]... [RANK:CALL]

Each run joins anew, as the stages of a chain do, and the first rank comes late, as one does that
has results to write. It tells each step as `KIND-SHARD STEP PID...`, with the processes of all
ranks. A rank that is named kills itself with signal 9 in that call of those that change the disk.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from pipeline import distributed
from pipeline.distributed import Mesh, joined, world
from pipeline.errors import PipelineError
from pipeline.rounds.descriptor import Described
from pipeline.rounds.source import RoundRows
from pipeline.runtime import set_threads
from pipeline.shuffle import permutation
from pipeline.stage import tell
from pipeline.training.training import Training, is_finished
from tests.rounds.makers import CountingMaker
from tests.shuffle.kill import watch_calls
from tests.training.planted_rows import N_ROWS, crosscoder_config, make_training

ANSWER_SECONDS = 60.0
LATE_SECONDS = 0.2
DESCRIBED = Described(400, np.random.default_rng(2).integers(20, 31, 60).astype(np.int32))
SEED = 5


@contextmanager
def job(folder: Path, name: str) -> Iterator[Training]:
    """Nearly two epochs in batches and of latents that two do not divide; the last batch is one
    row. Most latents of BatchTopK are dead. Rounds are of several buckets and chunks."""
    kind, shard, *in_rounds = name.split("-")
    assert shard in ("data", "latents")
    training = make_training(
        folder,
        kind,
        n_rows=2 * N_ROWS - 35,
        batch_rows=61,
        dead_after_rows=122,
        checkpoint_every_steps=5,
    )
    crosscoder = crosscoder_config(kind, n_latents=121)
    training = replace(training, crosscoder=crosscoder, mesh=Mesh.of(world(), shard))
    if not in_rounds:
        yield training
        return
    place, ranks = folder.with_name(f"rounds-of-{name}"), world()
    with (
        mock.patch.object(permutation, "MIN_BUCKET_ROWS", 64),
        RoundRows(DESCRIBED, SEED, place, CountingMaker(DESCRIBED, ranks=ranks), 1, ranks) as rows,
    ):
        yield replace(training, source=rows, rounds=rows)
    ranks.meet()
    if ranks.is_first:
        shutil.rmtree(place)


def train(name: str, folder: Path) -> None:
    if world().from_first(lambda: is_finished(folder)):
        return
    pids = torch.stack(world().gathered(torch.tensor(os.getpid()))).tolist()
    with job(folder, name) as training:
        run = training.start()

        def report(n: int, **figures: float) -> None:
            if world().is_first:
                print(name, run.step, *pids, flush=True)

        run.train(report)
        training.write(run, provenance={})


def main(arguments: list[str]) -> None:
    folder, *names = arguments
    if names[-1][0].isdigit():
        rank, call = map(int, names.pop().split(":"))
        if rank == world().rank:
            watch_calls(call, half_way=True)
    distributed.SMALL_BYTES = 2**10  # gradients of this size are summed while others are computed
    set_threads(1)
    try:
        with joined(ANSWER_SECONDS, "cpu", "before"):
            world().meet()
        if world().is_first:
            time.sleep(LATE_SECONDS)
        for name in names:
            with joined(ANSWER_SECONDS, "cpu", name):
                train(name, Path(folder) / name)
    except PipelineError as error:
        tell(f"error: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
