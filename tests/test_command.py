"""Every command tells what it does, that it is alive, and what it wrote."""

import importlib
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import progress
from pipeline.command import command
from pipeline.command_help import help_text
from pipeline.config import Config, compose
from pipeline.errors import ConfigError
from pipeline.interruption import Interrupted
from pipeline.stage import Stage, run
from stages import chain

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))
SHARED = {
    *("dump", "shuffle", "train", "chain"),
    *("evaluate", "latent_scaling", "causal", "changes", "dashboards"),
}
"""What several processes can do together; their tests are those of each part."""


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_help_tells_what_a_command_reads_writes_and_costs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", [name, "--help"])
    runpy.run_module(f"stages.{name}", run_name="__main__")
    shown = capsys.readouterr().out
    for word in (f"python -m stages.{name}", "reads", "writes", "cost"):
        assert word in shown
    stage = getattr(importlib.import_module(f"stages.{name}"), "STAGE", None)
    for section in stage.sections if stage else ():
        assert f"\n  {section}  (conf/" in shown


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - SHARED))
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_command_of_one_process_refuses_several_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before it has read anything, so that none waits for another and no file is written twice."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("sys.argv", [name, "+experiment=smoke"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"stages.{name}", run_name="__main__")
    assert ended.value.code == 2
    told = f"error: {name} was started in 2 processes, but runs in one: start it without torchrun"
    assert capsys.readouterr().err == f"{told}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_chain_in_several_processes_refuses_a_stage_of_one_before_any_has_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="baselines was started in 2 processes, but runs in one"):
        chain.main(["train", "baselines"])


def test_help_gives_each_key_its_present_value_and_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = help_text("Does x.", ["train"])
    assert "composed.yaml (experiment " in shown
    assert "    train.batch_rows = 1024  Activation rows per step.\n" in shown


def test_without_a_terminal_a_line_comes_every_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.sign_of_life("toy", interval_seconds=0.05):
        time.sleep(0.2)
        with progress.Progress("rows", total=10, unit="rows", log_dir=tmp_path) as bar:
            bar.advance(5)
            time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("toy: at work for 0 s") for line in lines)
    assert any(line.startswith("rows: 5/10 rows (50%)") for line in lines)


def test_the_last_line_names_what_was_written_or_that_there_was_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    config = compose(["+experiment=smoke"])
    stage = Stage(
        name="toy", sections=("report",), outputs={"x": Path("data/x")}, results=("toy.json",)
    )

    def main(_: Config) -> None:
        with stage.build(config, "x") as build:
            if not build.complete:
                build.publish(counts={}, facts={})
        stage.publish_results(config, {"toy.json": {"n": 1}})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["toy"])
    monkeypatch.setattr("pipeline.stage.load_config", lambda _: config)
    monkeypatch.setattr("pipeline.stage.use_runtime", lambda _: None)
    run(stage, main)
    first = capsys.readouterr().err
    assert first.startswith("toy: wrote data/x, results/toy.json, results/toy.manifest.json in ")
    run(stage, main)
    assert capsys.readouterr().err.startswith("toy: nothing to do, data/x, results/toy.json, ")


def test_output_into_a_pipe_that_closes_ends_without_a_traceback(tmp_path: Path) -> None:
    code = (
        "from pipeline.command import command\n"
        "def main(typed):\n    [print('x' * 999) for _ in range(9999)]\n"
        "command('toy', main)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


def test_a_command_whose_output_is_closed_ends_as_any_other() -> None:
    code = (
        "import sys\nfrom pipeline.command import command, tell\n"
        "def main(typed):\n    print('x')\n    tell('y')\n"
        "command('toy', main)\nsys.exit(7)\n"
    )
    closed = ["sh", "-c", '"$@" >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(closed, cwd=ROOT, check=False).returncode == 7


def test_a_command_that_is_stopped_names_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_typed: list[str]) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr("sys.argv", ["toy"])
    with pytest.raises(SystemExit) as ended:
        command("toy", main)
    assert ended.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err.startswith("toy: ")
