"""What was first recorded of a run stays, and says nothing of whose machine it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import run_records
from pipeline.artifacts import write_bytes
from pipeline.paths import shortened
from pipeline.run_records import Clock, RunRecord, find, keep


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bytes(Path("data/models/manifest.json"), b"{}")
    return Path("data/models")


def kept(made: Path, began: str = "2026-01-02T03:04:05+00:00") -> RunRecord | None:
    keep("models", ["seed=3"], replace(Clock(), began=began), [made], None)
    return find("models", made)


def test_making_the_same_again_changes_no_record(made: Path) -> None:
    first = kept(made)
    assert first is not None
    assert (first.command, first.device) == ("python -m stages.models seed=3", "")
    assert first.seconds >= 0
    assert kept(made, "2027-01-01T00:00:00+00:00") == first


def test_other_bytes_have_a_record_of_their_own_and_going_back_finds_the_first(made: Path) -> None:
    first = kept(made)
    write_bytes(made / "manifest.json", b"[]")
    assert find("models", made) is None
    second = kept(made, "2027-01-01T00:00:00+00:00")
    assert second is not None
    assert second != first
    write_bytes(made / "manifest.json", b"{}")
    assert find("models", made) == first


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"x": 1}'])
def test_records_that_cannot_be_read_stop_no_stage(made: Path, content: bytes) -> None:
    write_bytes(run_records.FOLDER / "models.json", content)
    assert kept(made) is not None


def test_a_record_of_another_version_is_none(made: Path) -> None:
    kept(made)
    file = run_records.FOLDER / "models.json"
    ((digest, _),) = json.loads(file.read_text()).items()
    file.write_text(json.dumps({digest: {"when": "yesterday"}}))
    assert find("models", made) is None


def test_a_disk_that_takes_no_record_stops_no_stage(made: Path) -> None:
    write_bytes(run_records.FOLDER, b"a file in its place")
    assert kept(made) is None


def test_without_git_the_version_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert run_records.code() == "0.1.0"


def test_a_path_is_shown_without_what_only_its_owner_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert shortened(f"{tmp_path}/texts/*.jsonl") == "texts/*.jsonl"
    assert shortened("/home/somebody/my models/base") == "~/my models/base"
    assert shortened("/mnt/store/of/the/lab") == "…/the/lab"
    assert shortened(f"a.path={tmp_path}/x b=[/mnt/a/b/c,d]") == "a.path=x b=[…/b/c,d]"
    assert shortened("User: /no path, 1/2 and https://a.b/c/d/e") == (
        "User: /no path, 1/2 and https://a.b/c/d/e"
    )
