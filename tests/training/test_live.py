"""The progress line, the log and the optional trackers of a run."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.errors import ConfigError, PipelineError
from pipeline.progress import Progress
from pipeline.training.loop import Run
from pipeline.training.trackers import LABELS, LiveView, TrackedRun, open_trackers
from tests.training.planted_rows import make_training

KINDS = ["l1", "dsf", "jumprelu", "batch_topk"]


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # logs/ goes here


class KilledError(Exception):
    """Stands for a kill between two steps."""


class Killed:
    """A view that hands on, and dies after a number of steps."""

    def __init__(self, view: LiveView, after_steps: int) -> None:
        self.view, self.left = view, after_steps

    def __call__(self, n: int, **figures: float) -> None:
        self.view(n, **figures)
        self.left -= 1
        if self.left == 0:
            raise KilledError


def train(
    folder: Path, kind: str = "l1", trackers: tuple[str, ...] = (), die_after: int = 10**9
) -> Run:
    """Train with a live view, logging every step."""
    training = make_training(folder, kind, log_every_steps=1)
    run = training.start()
    tracked = TrackedRun("train-0123", "test l1", run.step, {"train": {"seed": 11}})
    with (
        Progress(
            "train", total=training.n_rows, unit="rows", start=run.n_rows, labels=LABELS
        ) as progress,
        open_trackers(trackers, tracked) as opened,
    ):
        run.train(Killed(LiveView(progress, opened), die_after))
    return run


def log_records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("logs/train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_logged_step_is_in_the_log_with_all_its_figures(tmp_path: Path, kind: str):
    run = train(tmp_path / "run", kind)
    records = log_records()[:-1]  # the last one tells the end
    assert [record["step"] for record in records] == [point["step"] for point in run.curve]
    for record, point in zip(records, run.curve, strict=True):
        assert {name: record[name] for name in point} == point
        assert record["per_second"] >= 0
        assert record["resident_bytes"] > 0
        assert 0 <= record["data_wait_share"] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_shows_what_a_run_is_watched_for(
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "250")
    run = train(tmp_path / "run", kind)
    line = capsys.readouterr().err.rstrip("\n").split("\r\x1b[K")[-1]
    terms = [LABELS[name] for name in run.curve[-1] if name.startswith("loss_")]
    assert len(terms) == 2
    wanted = ("rows (100%)", "/s", " left", " GB", "step 23", "loss ", *(f"{t} " for t in terms))
    for part in (*wanted, "l0 ", "fve_base ", "fve_it ", "dead ", "wait "):
        assert part in line, part
    assert "\n" not in line


def test_the_line_is_cut_at_the_width_of_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    train(tmp_path / "run")
    line = capsys.readouterr().err.rstrip("\n").split("\r\x1b[K")[-1]
    assert len(line) == 59


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_shows_a_killed_and_resumed_run_as_one(tmp_path: Path):
    with pytest.raises(KilledError):
        train(tmp_path / "run", trackers=("tensorboard",), die_after=12)
    run = train(tmp_path / "run", trackers=("tensorboard",))  # from the checkpoint at step 7
    (folder,) = Path("logs/tensorboard").iterdir()
    assert folder.name == "train-0123"
    for name in ("loss", "l0", "fve_it", "n_dead"):
        shown = scalars(folder, f"train/{name}")
        assert [step for step, _ in shown] == list(range(24))
        expected = [point[name] for point in run.curve]
        assert [value for _, value in shown] == pytest.approx(expected, rel=1e-6)


class FakeWandb(ModuleType):
    """The part of wandb that is used, and what it was told."""

    class Error(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("wandb")
        self.inits: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.exit_codes: list[int] = []

    def init(self, **settings: Any) -> "FakeWandb":
        self.inits.append(settings)
        return self

    def log(self, figures: dict[str, float], step: int) -> None:
        self.logged.append((step, figures))

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_a_resumed_run_goes_on_under_the_same_id_in_wandb(tmp_path: Path, wandb: FakeWandb):
    with pytest.raises(KilledError):
        train(tmp_path / "run", trackers=("wandb",), die_after=12)
    run = train(tmp_path / "run", trackers=("wandb",))
    assert [init["id"] for init in wandb.inits] == ["train-0123", "train-0123"]
    assert {init["resume"] for init in wandb.inits} == {"allow"}
    assert wandb.inits[0]["config"] == {"train": {"seed": 11}}
    assert wandb.exit_codes == [1, 0]
    last = dict(wandb.logged)
    assert sorted(last) == list(range(24))
    assert [last[step]["loss"] for step in range(24)] == [point["loss"] for point in run.curve]


def test_wandb_without_login_says_what_to_do(tmp_path: Path, wandb: FakeWandb):
    def refuse(**settings: Any) -> FakeWandb:
        raise wandb.Error("api_key not configured")

    wandb.init = refuse
    with pytest.raises(PipelineError, match=r"api_key not configured.*WANDB_MODE=offline"):
        train(tmp_path / "run", trackers=("wandb",))


def test_the_real_wandb_takes_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb", reason="optional, and not among the locked packages")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(tmp_path / "run", trackers=("wandb",))
    (folder,) = Path("logs/wandb").glob("offline-run-*-train-0123")
    assert (folder / "run-train-0123.wandb").stat().st_size > 1000


@pytest.mark.parametrize(
    ("tracker", "module"), [("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_a_tracker_that_is_not_installed_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, module: str
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"trackers names {tracker}.*pip install {tracker}"):
        train(tmp_path / "run", trackers=(tracker,))
    assert not Path("logs/wandb").exists()
