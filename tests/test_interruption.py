"""A signal ends a command after its step, with a checkpoint, its children, and true words."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from pipeline import artifacts
from pipeline.command import words_on
from pipeline.interruption import Interrupted, listening
from tests.training.planted_rows import make_training

ROOT = Path(__file__).parents[1]
COMMAND = """
import os, sys, time
from pathlib import Path
from pipeline.command import command
from pipeline.interruption import run_child

def main(typed):
    Path(typed[0]).write_text(str(os.getpid()))
    if typed[1:]:
        run_child([sys.executable, __file__, *typed[1:]])
    while True:
        time.sleep(0.05)

command("toy", main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_stops_after_its_step_with_a_checkpoint_and_goes_on_to_the_same_bits(
    number: signal.Signals, tmp_path: Path
) -> None:
    def weights(folder: Path, stop_at: int | None) -> torch.Tensor:
        training = make_training(folder, "l1", n_rows=1000, checkpoint_every_steps=10_000)
        run = training.start()

        def report(n: int, **figures: float) -> None:
            if run.step == stop_at:
                os.kill(os.getpid(), number)

        with listening():
            run.train(report)
        return run.variant.crosscoder.W_enc.clone()

    whole = weights(tmp_path / "whole", None)
    with pytest.raises(Interrupted) as stopped:
        weights(tmp_path / "stopped", 5)
    assert stopped.value.number == number
    (latest,) = (tmp_path / "stopped").rglob("latest.json")
    assert json.loads(latest.read_text())["step"] == 5
    assert torch.equal(weights(tmp_path / "stopped", None), whole)


def test_the_words_are_true_where_work_is_kept_and_where_none_is(tmp_path: Path) -> None:
    def stopped_build(has_work: bool) -> Interrupted:
        with (  # noqa: PT012
            pytest.raises(Interrupted) as stopped,
            artifacts.build(
                tmp_path / "x", artifact="x", format_version=1, config={}, inputs={}
            ) as build,
        ):
            if has_work:
                (build.work / "half").touch()
            raise Interrupted(signal.SIGINT)
        return stopped.value

    assert words_on(stopped_build(has_work=False), resumes=True) == (
        "stopped by Ctrl-C; nothing was finished: the same command begins anew"
    )
    kept = words_on(stopped_build(has_work=True), resumes=True)
    assert str(tmp_path / ".work/x-") in kept
    assert kept.endswith("run the same command again to go on")


def test_a_signal_during_the_imports_is_one_line() -> None:
    code = (
        "import os, signal, time\n"
        "from pipeline.interruption import end_quietly_before_start\n"
        "end_quietly_before_start('toy')\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "toy: stopped by Ctrl-C before it began\n")


def started(command: list[str], folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """The process, and the ids that the toy command and its child wrote once they were at work."""
    (folder / "toy.py").write_text(COMMAND)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    files = [folder / "one", folder / "two"]
    wait_for(lambda: all(file.exists() and file.read_text() for file in files))
    return process, [int(file.read_text()) for file in files]


def wait_for(is_so) -> None:
    ends = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < ends, "waited for 90 s"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_with_its_children_and_the_status_of_the_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    process, pids = started([sys.executable, "toy.py", "one", "two"], tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].startswith("toy: stopped by ")
    assert "Traceback" not in said
    assert all(map(is_gone, pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_works_on_when_dvc_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    """dvc repro -> (shell) -> command -> its child; only dvc gets the signal."""
    stage = {"cmd": f"{sys.executable} toy.py one two", "deps": ["toy.py"]}
    (tmp_path / "toy.py").write_text(COMMAND)
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"toy": stage}}))
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    process, pids = started([*dvc, "repro", "-q"], tmp_path)
    process.send_signal(number)
    process.wait()
    wait_for(lambda: all(map(is_gone, pids)))
    assert process.stderr is not None
    process.stderr.close()
