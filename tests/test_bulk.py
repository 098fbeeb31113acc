"""Stores in the bulk: found by fingerprint, never mistaken for others, and dropped cleanly."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline import artifacts, bulk
from pipeline.config import compose
from pipeline.errors import ArtifactError, BusyError, DamagedStoreError, MissingArtifactError
from pipeline.stage import Stage, use_runtime
from pipeline.store import StoreReader, StoreWriter, activation_layout, verify_store
from tests.store.numbered import N_ROWS, bytes_below, numbered_rows

ROOT = Path(__file__).parents[1]
LAYOUT = activation_layout(2, 8, 16)


def make(data: Path, bulk_dir: Path | None, seed: int = 0) -> bool:
    """Build `data/x.zarr`; whether there was anything to do."""
    with artifacts.build(
        data / "x.zarr",
        artifact="x",
        format_version=1,
        config={"x": {"seed": seed}},
        inputs={},
        bulk_dir=bulk_dir,
    ) as build:
        if build.complete:
            return False
        with StoreWriter.open(build.work, LAYOUT) as writer:
            writer.append(numbered_rows(LAYOUT, seed, seed + N_ROWS))
            writer.finish()
        build.publish(counts={"n_rows": N_ROWS}, facts={})
    return True


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make(tmp_path / "data", tmp_path / "bulk")
    return tmp_path / "data"


def test_what_dvc_tracks_is_small_and_names_no_path(data: Path) -> None:
    tracked = bytes_below(data / "x.zarr")
    assert tracked.keys() == {"manifest.json", "bulk.json"}
    assert str(data.parent).encode() not in b"".join(tracked.values())


def test_a_store_in_the_bulk_is_the_store_it_would_be_in_data(data: Path, tmp_path: Path) -> None:
    make(tmp_path / "inline", None)
    assert bytes_below(bulk.resolve(data / "x.zarr")) == bytes_below(tmp_path / "inline/x.zarr")
    inline, pointed = tmp_path / "inline/x.zarr", data / "x.zarr"
    assert artifacts.manifest_digest(pointed) == artifacts.manifest_digest(inline)


def test_consumers_find_it_and_so_does_plain_zarr(data: Path) -> None:
    expected = numbered_rows(LAYOUT, 0, N_ROWS)["activations"]
    assert verify_store(data / "x.zarr").n_rows == N_ROWS
    with StoreReader.open(data / "x.zarr") as reader:
        np.testing.assert_array_equal(reader.read("activations"), expected)
    group = zarr.open(bulk.resolve(data / "x.zarr"), mode="r")
    np.testing.assert_array_equal(group["activations"][:], expected)  # pyright: ignore


def test_switching_there_and_back_finds_the_same_bulk(data: Path, tmp_path: Path) -> None:
    first = bulk.resolve(data / "x.zarr").resolve()
    before = bytes_below(first)
    assert make(data, tmp_path / "bulk", seed=1)
    assert bulk.resolve(data / "x.zarr").resolve() != first
    assert not make(data, tmp_path / "bulk", seed=0), "nothing is computed on the way back"
    assert bulk.resolve(data / "x.zarr").resolve() == first
    assert bytes_below(first) == before


def test_the_bulk_may_move(data: Path, tmp_path: Path) -> None:
    (tmp_path / "bulk").rename(tmp_path / "moved")
    with pytest.raises(MissingArtifactError, match=r"is not in .*bulk: bring x\.zarr-\w+ back"):
        StoreReader.open(data / "x.zarr")
    assert not make(data, tmp_path / "moved")
    assert verify_store(data / "x.zarr").n_rows == N_ROWS


def test_a_link_to_the_artifact_from_another_folder_works(data: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.zarr").symlink_to(data / "x.zarr")
    assert verify_store(tmp_path / "elsewhere/x.zarr").n_rows == N_ROWS


def test_without_its_bulk_a_store_is_made_again(data: Path, tmp_path: Path) -> None:
    before = bytes_below(bulk.resolve(data / "x.zarr"))
    shutil.rmtree(tmp_path / "bulk")
    assert make(data, tmp_path / "bulk")
    assert bytes_below(bulk.resolve(data / "x.zarr")) == before


def test_another_store_in_its_place_is_refused(data: Path, tmp_path: Path) -> None:
    first = bulk.resolve(data / "x.zarr").resolve()
    make(data, tmp_path / "bulk", seed=1)
    other = bulk.resolve(data / "x.zarr").resolve()
    shutil.rmtree(other)
    shutil.copytree(first, other)
    with pytest.raises(DamagedStoreError, match="has another manifest"):
        StoreReader.open(data / "x.zarr")


def test_damage_in_the_bulk_is_refused_with_its_chunk(data: Path) -> None:
    chunk = bulk.resolve(data / "x.zarr") / LAYOUT.chunk_path("document", 3)
    chunk.write_bytes(bytes(chunk.stat().st_size))
    with pytest.raises(DamagedStoreError, match=r"\(chunk 3 of document\)"):
        verify_store(data / "x.zarr")


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"bulk": 3}', '{"bulk": "../../etc"}', '{"bulk": ".."}', '{"bulk": "."}', "[]"],
)
def test_an_edited_pointer_is_refused(data: Path, text: str) -> None:
    (data / "x.zarr/bulk.json").write_text(text)
    with pytest.raises(ArtifactError, match="is not a pointer to a bulk"):
        StoreReader.open(data / "x.zarr")


def test_dropping_leaves_the_tracked_files_and_says_how_to_come_back(
    data: Path, tmp_path: Path
) -> None:
    tracked = bytes_below(data / "x.zarr")
    size = sum(len(b) for b in bytes_below(bulk.resolve(data / "x.zarr")).values())
    assert bulk.drop(data / "x.zarr") == size
    assert bulk.drop(data / "x.zarr") == 0
    assert bytes_below(data / "x.zarr") == tracked
    assert sum(len(b) for b in bytes_below(tmp_path / "bulk").values()) < 100  # a lock file
    with pytest.raises(MissingArtifactError, match="dvc repro --force --single-item dump"):
        StoreReader.open(data / "x.zarr")
    assert make(data, tmp_path / "bulk")
    assert bytes_below(data / "x.zarr") == tracked
    assert verify_store(data / "x.zarr").n_rows == N_ROWS


def test_a_store_in_data_is_never_dropped(tmp_path: Path) -> None:
    make(tmp_path, None)
    assert bulk.drop(tmp_path / "x.zarr") == 0
    assert verify_store(tmp_path / "x.zarr").n_rows == N_ROWS


def test_verify_follows_the_pointer(data: Path) -> None:
    command = [sys.executable, "-m", "stages.verify", str(data / "x.zarr")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    key = json.loads((data / "x.zarr/bulk.json").read_text())["bulk"]
    assert f"bulk/{key}): {N_ROWS} rows" in done.stdout


def test_two_checkouts_build_different_stores_in_one_bulk_at_once(tmp_path: Path) -> None:
    """And neither takes away what the other has begun; the same store is made by one of them."""

    def build(data: str, seed: int):
        return artifacts.build(
            tmp_path / data / "x.zarr",
            artifact="x",
            format_version=1,
            config={"x": {"seed": seed}},
            inputs={},
            bulk_dir=tmp_path / "bulk",
        )

    with build("one", 1) as first, build("two", 2) as second:
        (first.work / "begun").touch()
        assert first.work != second.work
        with pytest.raises(BusyError, match="the same artifact"), build("three", 1):
            pass
    with build("one", 3):
        assert (first.work / "begun").exists(), "work of another configuration stays"


def test_a_relative_bulk_dir_outlives_the_temporary_copy_of_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `dvc exp run --temp` runs stages; then in the work tree itself, which has no link yet."""
    main, copy = tmp_path / "main", tmp_path / "main/.dvc/tmp/exps/tmp1"
    (copy / "data").mkdir(parents=True)
    (main / "data").mkdir()
    monkeypatch.chdir(Path(__file__).parents[1])
    config = compose(["+experiment=planted", "runtime.bulk_dir=data/bulk"])
    monkeypatch.setenv("DVC_ROOT", str(main))
    monkeypatch.chdir(copy)
    stage = Stage(name="toy", sections=("plant",), outputs={"x": Path("data/x.zarr")})
    with stage.build(config, "x") as build:
        with StoreWriter.open(build.work, LAYOUT) as writer:
            writer.append(numbered_rows(LAYOUT, 0, N_ROWS))
            writer.finish()
        build.publish(counts={"n_rows": N_ROWS}, facts={})
    shutil.copytree(copy / "data/x.zarr", main / "data/x.zarr")
    monkeypatch.chdir(main)
    shutil.rmtree(copy)
    with pytest.raises(MissingArtifactError, match=r"not known in this checkout: run the stage"):
        bulk.resolve(Path("data/x.zarr"))
    use_runtime(config)
    assert verify_store(Path("data/x.zarr")).n_rows == N_ROWS
