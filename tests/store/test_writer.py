"""What a writer leaves on disk: plain Zarr, the same however it was cut up, resumed or spread."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.errors import BusyError, MismatchError, NoSpaceError
from pipeline.store import (
    StoreLayout,
    StoreReader,
    StoreWriter,
    activation_layout,
    token_layout,
    verify_store,
)
from pipeline.store.codecs import CODECS
from tests.store.numbered import N_ROWS, ROWS_PER_CHUNK, bytes_below, numbered_rows


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", ["activations", "tokens"])
def test_plain_zarr_reads_what_was_written(tmp_path: Path, kind: str, codec: str) -> None:
    tokens, rows = token_layout(12, ROWS_PER_CHUNK), activation_layout(2, 8, ROWS_PER_CHUNK)
    layout = replace(rows if kind == "activations" else tokens, codec=codec)
    expected = numbered_rows(layout, 0, N_ROWS)
    with StoreWriter.open(tmp_path / "store", layout) as writer:
        writer.append(expected)
        assert writer.finish() == N_ROWS
    group = zarr.open_group(tmp_path / "store", mode="r")
    assert sorted(group.array_keys()) == sorted(layout.names)
    for spec in layout.arrays:
        array = group[spec.name]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(array[:], expected[spec.name])
        assert array.dtype == spec.dtype
        assert array.metadata.dimension_names == ("row", *spec.dimensions)  # pyright: ignore
        assert array.fill_value == spec.fill_value


def test_zarr_writes_the_same_chunk_bytes(make_store: Callable[..., Path], tmp_path: Path) -> None:
    store = make_store()
    ours = zarr.open_group(store, mode="r")["activations"]
    assert isinstance(ours, zarr.Array)
    theirs = zarr.create_array(
        tmp_path / "theirs.zarr",
        shape=ours.shape,
        chunks=ours.chunks,
        dtype=ours.dtype,
        fill_value=0xFFFF,
        compressors=ours.compressors,
        config={"write_empty_chunks": True},
    )
    theirs[:] = ours[:]
    chunks = bytes_below(store / "activations" / "c")
    assert chunks == bytes_below(tmp_path / "theirs.zarr" / "c")
    assert len(chunks) == -(-N_ROWS // ROWS_PER_CHUNK)


@pytest.mark.parametrize("step", [1, 7, 16, 33, N_ROWS])
def test_the_size_of_appends_does_not_matter(
    make_store: Callable[..., Path], tmp_path: Path, layout: StoreLayout, step: int
) -> None:
    with StoreWriter.open(tmp_path / "other", layout, n_threads=3) as writer:
        for start in range(0, N_ROWS, step):
            assert writer.next_row == start
            writer.append(numbered_rows(layout, start, min(start + step, N_ROWS)))
        writer.finish()
    assert bytes_below(tmp_path / "other") == bytes_below(make_store())


def test_a_writer_goes_on_from_the_last_whole_chunk(
    make_store: Callable[..., Path], tmp_path: Path, layout: StoreLayout
) -> None:
    path = tmp_path / "other"
    for stop in (40, 41, 100, N_ROWS):
        with StoreWriter.open(path, layout) as writer:
            start = writer.next_row
            assert start % ROWS_PER_CHUNK == 0
            writer.append(numbered_rows(layout, start, stop))
            writer.flush()
            assert writer.chunk_done(0)
            if stop == N_ROWS:
                writer.finish()
    assert bytes_below(path) == bytes_below(make_store())


def test_a_finished_store_can_be_taken_up_and_finished_again(
    make_store: Callable[..., Path], layout: StoreLayout
) -> None:
    store = make_store()
    before = bytes_below(store)
    with StoreWriter.open(store, layout) as writer:
        assert writer.sealed
        assert writer.next_row == writer.durable_rows == N_ROWS
        assert writer.chunk_done(9)
        assert not writer.chunk_done(10)
        assert writer.finish() == N_ROWS
    assert bytes_below(store) == before


def test_what_a_kill_left_beside_a_seal_is_cleared(
    make_store: Callable[..., Path], layout: StoreLayout
) -> None:
    store = make_store()
    before = bytes_below(store)
    (store / "journal.jsonl").write_bytes(b"")
    (store / ".tmp").mkdir()
    StoreWriter.open(store, layout).close()
    assert bytes_below(store) == before
    assert not (store / ".tmp").exists()


def test_a_torn_journal_line_costs_one_chunk_at_most(
    make_store: Callable[..., Path], tmp_path: Path, layout: StoreLayout
) -> None:
    path = tmp_path / "other"
    with StoreWriter.open(path, layout, n_threads=1) as writer:
        writer.append(numbered_rows(layout, 0, 64))
        writer.flush()
    journal = path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    with StoreWriter.open(path, layout) as writer:
        assert writer.next_row == 48
        writer.append(numbered_rows(layout, 48, N_ROWS))
        writer.finish()
    assert bytes_below(path) == bytes_below(make_store())


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_resumed_writer_rewrites_chunks_that_lost_bytes(
    make_store: Callable[..., Path], tmp_path: Path, layout: StoreLayout, damage: str
) -> None:
    path = tmp_path / "other"
    with StoreWriter.open(path, layout) as writer:
        writer.append(numbered_rows(layout, 0, 64))
        writer.flush()
    chunk = path / layout.chunk_path("document", 1)
    if damage == "missing":
        chunk.unlink()
    else:
        os.truncate(chunk, 3)
    with StoreWriter.open(path, layout) as writer:
        assert writer.next_row == ROWS_PER_CHUNK
        writer.append(numbered_rows(layout, writer.next_row, N_ROWS))
        writer.finish()
    assert bytes_below(path) == bytes_below(make_store())


def test_a_second_writer_is_refused(tmp_path: Path, layout: StoreLayout) -> None:
    with (
        StoreWriter.open(tmp_path / "store", layout),
        pytest.raises(BusyError, match="another process"),
    ):
        StoreWriter.open(tmp_path / "store", layout)


def test_another_layout_is_refused(tmp_path: Path, layout: StoreLayout) -> None:
    StoreWriter.open(tmp_path / "store", layout).close()
    with pytest.raises(MismatchError, match="rows_per_chunk = 16, now 32"):
        StoreWriter.open(tmp_path / "store", activation_layout(2, 8, 32))


def test_a_store_of_no_rows_is_a_store(tmp_path: Path, layout: StoreLayout) -> None:
    with StoreWriter.open(tmp_path / "store", layout) as writer:
        assert writer.finish() == 0
    assert verify_store(tmp_path / "store").n_rows == 0
    with StoreReader.open(tmp_path / "store") as reader:
        assert list(reader.batches(4)) == []


def test_a_full_disk_keeps_the_work_and_a_rerun_finishes(
    make_store: Callable[..., Path],
    tmp_path: Path,
    layout: StoreLayout,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = bytes_below(make_store())
    half = sum(len(data) for name, data in expected.items() if "/c/" in name) // 2
    path, true_write, budget = tmp_path / "other", os.pwrite, [half]

    def write_until_full(descriptor: int, data: memoryview, offset: int) -> int:
        budget[0] -= len(data)
        if budget[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return true_write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", write_until_full)
    # One thread, so that the first chunk is whole before the second takes of the budget.
    with StoreWriter.open(path, layout, n_threads=1) as writer:
        with pytest.raises(NoSpaceError, match=r"no space left to write .* free some space"):
            writer.append(numbered_rows(layout, 0, N_ROWS))
        with pytest.raises(NoSpaceError):
            writer.finish()
    monkeypatch.undo()
    assert not any((path / ".tmp").iterdir())
    with StoreWriter.open(path, layout) as writer:
        assert 0 < writer.next_row < N_ROWS
        writer.append(numbered_rows(layout, writer.next_row, N_ROWS))
        writer.finish()
    assert bytes_below(path) == expected


def test_every_chunk_is_flushed_before_it_gets_its_name(
    tmp_path: Path, layout: StoreLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[int] = set()
    renamed: list[bool] = []
    true_replace = os.replace

    def replace(source: Path, target: Path) -> None:
        renamed.append(Path(source).stat().st_ino in flushed)
        true_replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.add(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "replace", replace)
    with StoreWriter.open(tmp_path / "store", layout) as writer:
        writer.append(numbered_rows(layout, 0, N_ROWS))
        writer.finish()
    assert all(renamed)
    assert len(renamed) >= 10 * len(layout.arrays)


def test_a_finished_store_holds_nothing_of_the_run(make_store: Callable[..., Path]) -> None:
    store = make_store()
    top = {p.name for p in store.iterdir() if p.is_file()}
    assert top == {"zarr.json", "chunks.npy", "seal.json"}
    assert not (store / ".tmp").exists()
    assert json.loads((store / "seal.json").read_text())["n_rows"] == N_ROWS
