"""Artifacts are finished last, resumable, and never mixed."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from pipeline import artifacts, bulk
from pipeline.config import compose
from pipeline.errors import ArtifactError, BusyError, MissingArtifactError, NoSpaceError
from pipeline.stage import MADE_BY, Stage
from tests.store.numbered import bytes_below


def build(
    output: Path,
    seed: int = 0,
    inputs: dict[str, Path] | None = None,
    *,
    is_aside: bool = False,
    bulk_dir: Path | None = None,
):
    return artifacts.build(
        output,
        is_aside=is_aside,
        bulk_dir=bulk_dir,
        artifact="toy",
        format_version=1,
        config={"toy": {"seed": seed}},
        inputs=inputs or {},
    )


def make(output: Path, seed: int = 0, inputs: dict[str, Path] | None = None) -> None:
    with build(output, seed, inputs) as made:
        (made.work / "value.txt").write_text(str(seed))
        made.publish(counts={"rows": 3}, facts={"width": 2})


def test_a_published_artifact_has_a_manifest_of_its_files(tmp_path: Path) -> None:
    make(tmp_path / "toy")
    manifest = artifacts.read_manifest(tmp_path / "toy")
    assert manifest.counts == {"rows": 3}
    assert manifest.files["value.txt"] == artifacts.describe_bytes(b"0")
    assert not list((tmp_path / ".work").glob("toy-*"))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda file: file.unlink(), "is not found, expected the 1 bytes"),
        (lambda file: file.write_text("00"), "is of 2 bytes, expected the 1 bytes"),
    ],
)
def test_half_of_an_artifact_is_no_input_and_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object], what: str
) -> None:
    monkeypatch.setitem(MADE_BY, tmp_path / "toy", "play")
    reader = Stage("read", (), inputs={"toy": tmp_path / "toy"})
    with chdir(Path(__file__).parents[1]):
        config = compose(["+experiment=tiny"])

    def read() -> artifacts.Manifest:
        return reader.input(config, "toy")

    monkeypatch.setattr("pipeline.stage.check_lineage", lambda *_, **__: None)
    make(tmp_path / "toy")
    whole = read()
    damage(tmp_path / "toy/value.txt")
    with pytest.raises(ArtifactError, match=f"{what} .* `dvc repro --force --single-item play`"):
        read()
    with build(tmp_path / "toy") as again:
        assert not again.complete
    make(tmp_path / "toy")
    assert read() == whole


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_every_file_is_for_those_who_may_read_a_plain_one(tmp_path: Path, umask: int) -> None:
    """safetensors writes for the owner alone."""
    before = os.umask(umask)
    try:
        with build(tmp_path / "toy") as made:
            (made.work / "deep").mkdir()
            for name in ("weights", "deep/weights"):
                (made.work / name).touch(0o600)
            made.publish(counts={}, facts={})
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "toy").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}
    assert {path.name for path in files} == {"weights", "manifest.json"}


def test_equal_builds_are_bit_identical(tmp_path: Path) -> None:
    make(tmp_path / "a" / "toy")
    make(tmp_path / "b" / "toy")
    for name in ("manifest.json", "value.txt"):
        one, two = tmp_path / "a/toy" / name, tmp_path / "b/toy" / name
        assert one.read_bytes() == two.read_bytes()


def test_a_killed_build_resumes_in_the_same_work_directory(tmp_path: Path) -> None:
    with build(tmp_path / "toy") as killed:
        (killed.work / "half").write_text("done")
    with build(tmp_path / "toy") as again:
        assert (again.work / "half").read_text() == "done"
        assert not again.complete


@pytest.mark.parametrize("written", [b"", b"{", b"whole"])
def test_a_build_killed_while_it_wrote_the_manifest_ends_in_the_same_bytes(
    tmp_path: Path, written: bytes
) -> None:
    make(tmp_path / "unbroken/toy")
    with build(tmp_path / "killed/toy") as killed:
        artifacts.temporary_name(killed.work / "manifest.json").write_bytes(written)
    make(tmp_path / "killed/toy")
    assert bytes_below(tmp_path / "killed/toy") == bytes_below(tmp_path / "unbroken/toy")


def test_another_fingerprint_starts_afresh(tmp_path: Path) -> None:
    with build(tmp_path / "toy", seed=1) as killed:
        (killed.work / "half").write_text("done")
    with build(tmp_path / "toy", seed=2) as other:
        assert other.work != killed.work
        assert not (other.work / "half").exists()


def test_an_input_decides_the_fingerprint_and_passes_on_its_lineage(tmp_path: Path) -> None:
    make(tmp_path / "first", seed=1)
    make(tmp_path / "second", seed=2, inputs={"first": tmp_path / "first"})
    manifest = artifacts.read_manifest(tmp_path / "second")
    assert manifest.inputs == {"first": artifacts.manifest_digest(tmp_path / "first")}
    before = manifest.fingerprint
    make(tmp_path / "first", seed=3)
    make(tmp_path / "second", seed=2, inputs={"first": tmp_path / "first"})
    assert artifacts.read_manifest(tmp_path / "second").fingerprint != before


def test_publishing_replaces_the_old_artifact_whole(tmp_path: Path) -> None:
    make(tmp_path / "toy", seed=1)
    (tmp_path / "toy" / "stray").write_text("old")
    make(tmp_path / "toy", seed=2)
    assert (tmp_path / "toy/value.txt").read_text() == "2"
    assert not (tmp_path / "toy/stray").exists()


def test_a_complete_artifact_is_recognised_by_its_fingerprint(tmp_path: Path) -> None:
    make(tmp_path / "toy", seed=1)
    with build(tmp_path / "toy", seed=1) as same:
        assert same.complete
    with build(tmp_path / "toy", seed=2) as other:
        assert not other.complete


def test_a_second_builder_of_the_same_artifact_is_refused(tmp_path: Path) -> None:
    with build(tmp_path / "toy"), pytest.raises(BusyError, match="held by process"):  # noqa: SIM117
        with build(tmp_path / "toy"):
            pass


def test_a_missing_artifact_names_its_path_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match=r"shuffled.*dvc repro shuffle"):
        artifacts.read_manifest(tmp_path / "shuffled", "shuffle")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"artifact": "toy"}'])
def test_an_unreadable_manifest_is_refused(tmp_path: Path, content: str) -> None:
    make(tmp_path / "toy")
    (tmp_path / "toy/manifest.json").write_text(content)
    with pytest.raises(ArtifactError, match="not a manifest"):
        artifacts.read_manifest(tmp_path / "toy")


def test_an_altered_file_is_named(tmp_path: Path) -> None:
    make(tmp_path / "toy")
    manifest = artifacts.read_manifest(tmp_path / "toy")
    artifacts.check_files(tmp_path / "toy", manifest)
    (tmp_path / "toy/value.txt").write_text("9")
    with pytest.raises(ArtifactError, match=r"value\.txt is damaged"):
        artifacts.check_files(tmp_path / "toy", manifest)


def test_a_full_disk_is_a_clear_error_and_keeps_the_work(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match="no space left"), build(tmp_path / "toy") as full:  # noqa: PT012
        (full.work / "half").write_text("done")
        raise OSError(errno.ENOSPC, "No space left on device")
    with build(tmp_path / "toy") as again:
        assert (again.work / "half").exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path, number: int) -> None:
    refused = OSError(number, "not here", str(tmp_path / "toy"))
    with pytest.raises(ArtifactError, match=r"toy: not here: give this user the right"):  # noqa: SIM117
        with build(tmp_path / "toy"):
            raise refused


def test_json_with_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        artifacts.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts.write_json(tmp_path / "x.json", {"a": 1})

    def no_sync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", no_sync)
    with pytest.raises(NoSpaceError):
        artifacts.write_json(tmp_path / "x.json", {"a": 2})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_work_of_another_configuration_is_kept_and_told(tmp_path: Path) -> None:
    with build(tmp_path / "toy", seed=1) as killed:
        (killed.work / "half").write_text("done")
    with build(tmp_path / "toy", seed=2) as other:
        (other.work / "begun").write_text("x")
        found = artifacts.unfinished([tmp_path / ".work"])
        assert {w.path: (w.n_bytes, w.is_busy) for w in found} == {
            killed.work: (4, False),
            other.work: (1, True),
        }
    with build(tmp_path / "toy", seed=1) as again:
        assert (again.work / "half").read_text() == "done"


def test_what_is_finished_aside_is_put_in_place_by_the_configuration_it_is_for(
    tmp_path: Path,
) -> None:
    output = tmp_path / "toy"
    with build(output, 1) as own, build(output, 2, is_aside=True) as other:
        for made, value in ((own, "1"), (other, "2")):
            (made.work / "value.txt").write_text(value)
            made.publish(counts={"rows": 3}, facts={"width": 2})
    assert (output / "value.txt").read_text() == "1"
    assert [found.is_finished for found in artifacts.unfinished([tmp_path / ".work"])] == [True]
    for turn in (2, 1, 2):
        with build(output, turn) as own, build(output, 3 - turn, is_aside=True) as other:
            assert not own.complete
            other.take_back()
            own.put_in_place()
            assert own.complete
            assert other.complete
        assert (output / "value.txt").read_text() == str(turn)
    make(tmp_path / "alone/toy", 2)
    assert bytes_below(output) == bytes_below(tmp_path / "alone/toy")


def test_in_the_bulk_what_is_finished_aside_is_found_by_its_fingerprint(tmp_path: Path) -> None:
    output, bulk_dir = tmp_path / "data/toy.zarr", tmp_path / "bulk"
    with (
        build(output, 1, bulk_dir=bulk_dir) as own,
        build(output, 2, is_aside=True, bulk_dir=bulk_dir) as other,
    ):
        for made, value in ((own, "1"), (other, "2")):
            (made.work / "value.txt").write_text(value)
            made.publish(counts={}, facts={})
    for turn in (2, 1):
        with build(output, turn, bulk_dir=bulk_dir) as own:
            assert own.complete
        assert (bulk.resolve(output) / "value.txt").read_text() == str(turn)


def test_a_link_in_place_of_a_lock_or_of_a_file_in_the_making_is_not_written_through(
    tmp_path: Path,
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work/toy.lock").symlink_to(precious)
    with pytest.raises(ArtifactError, match=r"toy\.lock is a link.*remove it"):
        make(tmp_path / "toy")
    artifacts.temporary_name(tmp_path / "x").symlink_to(precious)
    artifacts.write_bytes(tmp_path / "x", b"new")
    assert precious.read_text() == "mine"
    assert (tmp_path / "x").read_bytes() == b"new"
