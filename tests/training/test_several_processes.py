"""Two processes of one thread train what one process trains; killed, they go on to the same bytes.

Sums over the batch or over the latents are added in another order, so weights differ in rounding:
after 50 steps by 2e-7 of a tensor's norm at most, and figures of the curve by 1e-6.
"""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.crosscoder import Crosscoder
from pipeline.training.training import read_outcome
from tests.forks import Forks, forks
from tests.training.several_processes import job

KINDS = ["l1", "dsf", "jumprelu", "batch_topk"]
SHARDS = ["data", "latents"]
IN_ROUNDS = ["l1-data-rounds", "batch_topk-latents-rounds"]
NAMES = [*(f"{kind}-{shard}" for kind in KINDS for shard in SHARDS), *IN_ROUNDS]
N_DISK_CALLS = 300
"""Fewer than either process of a run in rounds makes."""
WEIGHT_TOLERANCE, CURVE_TOLERANCE = 1e-5, 1e-4
BOUND_SECONDS = 60.0


def train_alone(folder: Path, name: str) -> None:
    with job(folder, name) as training:
        run = training.start()
        run.train(lambda n, **figures: None)
        training.write(run, provenance={})


def by_one(name: str) -> str:
    """The run of one process that is divided in `name`."""
    return name.replace("latents", "data")


def contents(folder: Path) -> dict[str, bytes]:
    read_outcome(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def job_of_two(module_path: Path) -> Iterator[Forks]:
    with forks("tests.training.several_processes", module_path) as runs:
        yield runs


@pytest.fixture(scope="module")
def trained(job_of_two: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every variant trained in two processes, in both ways of dividing the work."""
    folder = tmp_path_factory.mktemp("two")
    job_of_two.finish(str(folder), *NAMES, n_processes=2)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    for name in sorted(set(map(by_one, NAMES))):
        train_alone(folder / name, name)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_what_one_trains(trained: Path, alone: Path, name: str):
    assert_close(Crosscoder.load(trained / name), Crosscoder.load(alone / by_one(name)), name)


def assert_close(ours: Crosscoder, theirs: Crosscoder, what: str) -> None:
    found = ours.state_dict()
    for key, tensor in theirs.state_dict().items():
        difference = (found[key] - tensor).norm() / tensor.norm().clamp_min(1e-6)
        assert float(difference) < WEIGHT_TOLERANCE, (key, what)


@pytest.mark.parametrize("name", NAMES)
def test_the_normalisation_has_the_bits_of_one_process(trained: Path, alone: Path, name: str):
    scales = [
        Crosscoder.load(f / n).activation_scale for f, n in ((trained, name), (alone, by_one(name)))
    ]
    assert torch.equal(*scales)


@pytest.mark.parametrize("name", NAMES)
def test_every_point_of_the_curve_tells_of_the_whole_batch(trained: Path, alone: Path, name: str):
    ours, theirs = curve(trained / name), curve(alone / by_one(name))
    assert len(ours) == len(theirs) > 10
    for found, expected in zip(ours, theirs, strict=True):
        assert found == pytest.approx(expected, rel=CURVE_TOLERANCE, abs=1e-6)


def test_dead_latents_and_the_loss_that_revives_them_are_among_what_agrees(alone: Path):
    points = curve(alone / "batch_topk-data")
    assert any(point["n_dead"] > 5 and point["loss_auxk"] > 0.1 for point in points)


def curve(folder: Path) -> list[dict[str, float]]:
    with (folder / "training.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A job of torchrun of which a process was killed at a random moment, and what it told."""
    folder = tmp_path_factory.mktemp("killed")
    moments = random.Random(time.time_ns())  # another moment every time the suite runs
    name = moments.choice(["batch_topk-latents", "jumprelu-data"])
    rank, step = moments.randrange(2), moments.randint(6, 44)
    return folder, {name: kill_one(folder, name, step, rank)}


def kill_one(folder: Path, name: str, step: int, rank: int) -> str:
    """Kill a rank after a step of the named job; what the job then tells until it ends."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    process = subprocess.Popen(
        [*command, "-m", "tests.training.several_processes", str(folder), name],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        told, done, *pids = line.split()
        if (told, int(done)) == (name, step):
            os.kill(int(pids[rank]), signal.SIGKILL)
            break
    _, errors = process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode != 0
    return f"killed rank {rank} after step {step}: {errors}"


def test_a_job_whose_process_was_killed_ends_with_one_clear_error(killed: tuple[Path, dict]):
    for errors in killed[1].values():
        assert errors.count("another process of this job has ended") == 1, errors
        assert "run the same command again to resume" in errors


def test_a_killed_job_goes_on_to_the_same_bytes(
    killed: tuple[Path, dict[str, str]], job_of_two: Forks, trained: Path, tmp_path: Path
):
    folder, told = killed
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    job_of_two.finish(str(tmp_path), *told, n_processes=2)
    for name, errors in told.items():
        assert contents(tmp_path / name) == contents(trained / name), errors


def test_another_number_of_processes_takes_up_a_checkpoint(
    killed: tuple[Path, dict[str, str]], alone: Path, tmp_path: Path
):
    folder, told = killed
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for name, errors in told.items():
        train_alone(tmp_path / name, name)
        one = Crosscoder.load(alone / by_one(name))
        assert_close(Crosscoder.load(tmp_path / name), one, errors)


def test_a_job_in_rounds_killed_anywhere_goes_on_to_the_same_bytes(
    job_of_two: Forks, trained: Path, alone: Path, tmp_path: Path
):
    """Either process, in the middle of a write, before a rename or a removal; then once more. One
    process goes on from there too."""
    moments = random.Random(time.time_ns())  # another moment every time the suite runs
    name = moments.choice(IN_ROUNDS)
    kills = [f"{moments.randrange(2)}:{moments.randint(1, N_DISK_CALLS)}" for _ in range(2)]
    for kill in kills:
        ended = job_of_two.run(str(tmp_path), name, kill, n_processes=2)
        assert -signal.SIGKILL in ended.statuses or kill != kills[0], (kills, ended.said)
    shutil.copytree(tmp_path, tmp_path / "one")
    train_alone(tmp_path / "one" / name, name)
    one = Crosscoder.load(alone / by_one(name))
    assert_close(Crosscoder.load(tmp_path / "one" / name), one, str(kills))
    job_of_two.finish(str(tmp_path), name, n_processes=2)
    assert contents(tmp_path / name) == contents(trained / name), kills
    assert {path.name for path in tmp_path.iterdir()} == {name, "one"}
