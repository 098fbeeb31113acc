"""Kill trainings in rounds with SIGKILL at random points, let them go on, compare every byte.

    python -m tests.rounds.kill --kills 300 [--seed 0]

As `tests.shuffle.kill`: at the n-th call that changes the disk, before it or half way through where
it writes, or whenever. The training is killed again and again until it gets through; its files must
equal those of an unbroken one. In every step of every run the bytes of the rounds on disk are held
against two rounds and one file of buckets. Prints kills, finished runs and the most bytes as JSON.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.rounds.descriptor import Described
from pipeline.rounds.source import RoundRows
from pipeline.shuffle.geometry import Geometry
from pipeline.shuffle.permutation import Permutation
from pipeline.store import activation_layout
from pipeline.training.training import is_finished, read_outcome
from tests.rounds.makers import D_MODEL, ROWS_PER_CHUNK, CountingMaker
from tests.shuffle.kill import kill_until_finished, measure, use_small_buckets
from tests.store.numbered import bytes_below
from tests.training.planted_rows import make_training

DESCRIBED = Described(600, np.random.default_rng(3).integers(20, 31, 70).astype(np.int32))
SEED = 5
OVERHEAD_BYTES = 40_000
"""Metadata of two stores, header and progress of the buckets."""


def most_bytes() -> int:
    """Two rounds and one file of buckets."""
    layout = activation_layout(2, D_MODEL, ROWS_PER_CHUNK)
    geometry = Geometry(layout, Permutation(0, DESCRIBED.rows_per_round))
    file = sum(geometry.region_bytes) * geometry.buckets_per_file
    padded = layout.chunk_bytes * 2 + file * 2
    return 2 * DESCRIBED.rows_per_round * layout.row_bytes + file + padded + OVERHEAD_BYTES


def train(folder: Path, source: Path) -> None:
    """What the stage `train` does, in `folder`; the largest size of the rounds goes to `source`."""
    rounds, work = folder / "rounds", folder / "crosscoder"

    def watch(step: str) -> None:
        found = bytes_on_disk(rounds)
        assert found <= most_bytes(), f"{found} bytes of rounds at {step}"
        told = source / "most"
        if found > (int(told.read_text() or 0) if told.exists() else 0):
            told.write_text(str(found))

    if not is_finished(work):
        with RoundRows(DESCRIBED, SEED, rounds, CountingMaker(DESCRIBED, watch)) as rows:
            changes: dict[str, Any] = {
                "n_rows": DESCRIBED.n_rows + 200,
                "checkpoint_every_steps": 9,
            }
            training = replace(make_training(work, "l1", **changes), source=rows, rounds=rows)
            run = training.start()
            run.train(lambda *_n, **_figures: watch("step"))
            training.write(run, provenance={})
    read_outcome(work)
    shutil.rmtree(rounds, ignore_errors=True)


def bytes_on_disk(folder: Path) -> int:
    """Size of all files below; the shuffle beside the steps takes some away meanwhile."""
    found = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += Path(parent, name).stat().st_size
    return found


def campaign(folder: Path, n_kills: int, draw: random.Random) -> dict[str, int]:
    source = folder / "source"
    source.mkdir()
    n_calls, seconds = measure(train, folder / "unbroken", source)
    expected = bytes_below(folder / "unbroken")
    count = {"kills": 0, "finished_runs": 0, "disk_calls_of_a_run": n_calls}
    while count["kills"] < n_kills:
        killed = folder / "killed"
        count["kills"] += kill_until_finished(train, killed, source, n_calls, seconds, draw)
        count["finished_runs"] += 1
        sys.stderr.write(f"{count['kills']} kills in {count['finished_runs']} runs\n")
        assert bytes_below(killed) == expected
        shutil.rmtree(killed)
    return {**count, "most_bytes": int((source / "most").read_text()), "allowed": most_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    use_small_buckets()
    torch.set_num_threads(1)
    # A kill leaves the page cache to the system: flushing proves nothing here and takes long.
    os.fsync = lambda descriptor: None
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(campaign(Path(folder), arguments.kills, random.Random(arguments.seed))))


if __name__ == "__main__":
    main()
