"""Runs killed with signal 9, in the middle of steps, of checkpoints and of the final write."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL

KINDS = ["l1", "dsf", "jumprelu", "batch_topk"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def command(folder: Path) -> list[str]:
    """Runs of all variants; the first five words are a run of `l1` alone."""
    return [sys.executable, "-m", "tests.training.train_once", str(folder), *KINDS]


def run_and_kill(folder: Path, kind: str, step: int, delay_seconds: float) -> None:
    """Kill the run `delay_seconds` after it told that `kind` did `step`."""
    process = subprocess.Popen(command(folder), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        reached = any(line.split() == [kind, str(step)] for line in lines)
        time.sleep(delay_seconds)
        process.kill()
    process.wait()
    assert reached, f"the run ended before step {step} of {kind}"


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_kill_inside_a_checkpoint_leaves_one_that_is_whole(tmp_path: Path):
    """Three kills in one run, each inside its process's tenth checkpoint."""
    subprocess.run(command(tmp_path / "whole")[:5], check=True, env=ENVIRONMENT, stdout=DEVNULL)
    run = command(tmp_path / "broken")[:5]
    for moment in ("half written", "written", "renamed"):
        inside = ENVIRONMENT | {"KILLED_IN_CHECKPOINT": moment}
        killed = subprocess.run(run, env=inside, stdout=DEVNULL, check=False)
        assert killed.returncode == -signal.SIGKILL
        checkpoints = tmp_path / "broken/l1/checkpoints"
        latest = checkpoints / json.loads((checkpoints / "latest.json").read_text())["folder"]
        assert [file.name for file in latest.iterdir()] == ["part-0.safetensors"]
        (unfinished,) = set(checkpoints.glob("step-*")) - {latest}
        part = "part-0.safetensors" if moment == "renamed" else ".part-0.safetensors.tmp"
        assert [file.name for file in unfinished.iterdir()] == [part]
    subprocess.run(run, check=True, env=ENVIRONMENT, stdout=DEVNULL)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_every_variant_killed_at_any_moment_and_resumed_writes_the_same_bytes(tmp_path: Path):
    subprocess.run(command(tmp_path / "whole"), check=True, env=ENVIRONMENT, capture_output=True)
    moments = random.Random(time.time_ns())  # another moment every time the suite runs
    kills = [(kind, moments.randint(2, 30), moments.uniform(0, 0.01)) for kind in KINDS]
    for kind, step, delay_seconds in kills:
        run_and_kill(tmp_path / "broken", kind, step, delay_seconds)
    subprocess.run(command(tmp_path / "broken"), check=True, env=ENVIRONMENT, capture_output=True)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole"), kills
