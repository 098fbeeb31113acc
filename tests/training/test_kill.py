"""Runs killed with signal 9, in the middle of steps, of checkpoints and of the final write."""

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forks import Forks, forks
from tests.training.train_once import MOMENTS

KINDS = ["l1", "dsf", "jumprelu", "batch_topk"]
DIED = [-signal.SIGKILL]


@pytest.fixture(scope="module")
def training(module_path: Path) -> Iterator[Forks]:
    with forks("tests.training.train_once", module_path) as runs:
        yield runs


@pytest.fixture(scope="module")
def whole(training: Forks, module_path: Path) -> Path:
    """Every variant trained without a kill."""
    training.finish(str(module_path / "whole"), *KINDS, "never")
    return module_path / "whole"


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_kill_inside_a_checkpoint_leaves_one_that_is_whole(
    training: Forks, whole: Path, tmp_path: Path
) -> None:
    """Three kills in one run, each inside its process's tenth checkpoint."""
    for moment in MOMENTS:
        assert training.run(str(tmp_path), "l1", moment).statuses == DIED
        checkpoints = tmp_path / "l1/checkpoints"
        latest = checkpoints / json.loads((checkpoints / "latest.json").read_text())["folder"]
        assert [file.name for file in latest.iterdir()] == ["part-0.safetensors"]
        (unfinished,) = set(checkpoints.glob("step-*")) - {latest}
        part = "part-0.safetensors" if moment == "renamed" else ".part-0.safetensors.tmp"
        assert [file.name for file in unfinished.iterdir()] == [part]
    training.finish(str(tmp_path), "l1", "never")
    assert contents(tmp_path / "l1") == contents(whole / "l1")


def test_every_variant_killed_at_any_moment_and_resumed_writes_the_same_bytes(
    training: Forks, whole: Path, tmp_path: Path
) -> None:
    moments = random.Random(time.time_ns())  # another moment every time the suite runs
    kills = [f"{kind}:{moments.randint(2, 30)}" for kind in KINDS]
    for kill in kills:
        assert training.run(str(tmp_path), *KINDS, kill).statuses == DIED, kill
    training.finish(str(tmp_path), *KINDS, "never")
    assert contents(tmp_path) == contents(whole), kills
