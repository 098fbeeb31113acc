"""One live line on a terminal; the same figures as JSON lines."""

import json
from pathlib import Path

import pytest

from pipeline import progress


def records(folder: Path, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_the_log_gets_the_last_figures_and_the_end(tmp_path: Path) -> None:
    with progress.Progress("toy", total=10, unit="rows", start=4, log_dir=tmp_path) as bar:
        bar.advance(6, loss=0.5)
    (record,) = records(tmp_path, "toy")
    assert record["done"] == record["total"] == 10
    assert record["loss"] == 0.5
    assert record["finished"]
    assert record["resident_bytes"] > 0


def test_a_failed_job_is_logged_as_unfinished(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError),
        progress.Progress("toy", total=10, unit="rows", log_dir=tmp_path),
    ):
        raise ValueError
    assert not records(tmp_path, "toy")[-1]["finished"]


def test_nothing_is_drawn_when_not_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.Progress("toy", total=1, unit="rows", log_dir=tmp_path) as bar:
        bar.advance(1)
    assert capsys.readouterr().err == ""


def test_the_live_line_shows_done_rate_time_and_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.Progress("toy", total=2, unit="rows", log_dir=tmp_path) as bar:
        bar.advance(1, loss=0.25)
    line = capsys.readouterr().err
    for part in ("toy: 1/2 rows (50%)", "/s", "left", "GB", "loss 0.25"):
        assert part in line


@pytest.mark.parametrize("step_seconds", [0.01, 3, 25, 100, 1000])
def test_the_rate_is_told_at_every_moment_however_long_a_step_takes(
    step_seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at after every step, and twice before the next is done."""
    now = 50.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    bar = progress.Progress("slow", total=10_000, unit="steps", log_dir=tmp_path)
    for _ in range(200):
        now += step_seconds
        bar.advance(1)
    assert bar.rate() * step_seconds == pytest.approx(1)
    for share in (0.5, 0.99):
        now = 50.0 + step_seconds * (200 + share)
        assert 0.5 <= bar.rate() * step_seconds <= 1.001


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (250, "4 min 10 s"), (7500, "2 h 05 min"), (273600, "3 d 4 h")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert progress.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(1234, "1,234/s"), (3.5, "3.5/s"), (0.2, "12/min"), (0.02, "1.2/min"), (5e-4, "1.8/h")],
)
def test_a_rate_is_told_in_the_unit_of_time_that_suits_it(per_second: float, text: str) -> None:
    assert progress.format_rate(per_second) == text


def test_a_job_that_has_not_begun_has_no_rate() -> None:
    assert progress.format_rate(0) == "0/s"
