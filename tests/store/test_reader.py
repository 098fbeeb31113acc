"""What a reader hands out: the stored rows, in order, or every row once per epoch."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.distributed import Ranks
from pipeline.errors import DamagedStoreError, MissingArtifactError
from pipeline.store import StoreLayout, StoreReader, StoreWriter, activation_layout
from pipeline.store.batches import WHOLE, Part
from pipeline.store.codecs import CODECS
from pipeline.store.epochs import EpochOrder
from tests.store.numbered import (
    D_MODEL,
    N_ROWS,
    ROWS_PER_CHUNK,
    numbered_rows,
    stored_rows,
)

MakeStore = Callable[..., Path]


@pytest.mark.parametrize(("start", "stop"), [(0, N_ROWS), (0, 16), (5, 37), (149, 150), (16, 16)])
def test_read_gives_the_rows_asked_for(
    make_store: MakeStore, layout: StoreLayout, start: int, stop: int
) -> None:
    expected = numbered_rows(layout, start, stop)
    with StoreReader.open(make_store()) as reader:
        for name, array in reader.rows(start, stop).items():
            np.testing.assert_array_equal(array, expected[name])


def test_take_gives_single_rows_in_the_order_asked_for(
    make_store: MakeStore, layout: StoreLayout
) -> None:
    rows = np.array([149, 3, 3, 80, 0, 17])
    with StoreReader.open(make_store()) as reader:
        for name, array in numbered_rows(layout, 0, N_ROWS).items():
            np.testing.assert_array_equal(reader.take(name, rows), array[rows])
        assert reader.take("source", rows[:0]).shape == (0,)


@pytest.fixture(scope="module", params=CODECS)
def one_store(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    path = tmp_path_factory.mktemp("reader") / "store.zarr"
    layout = activation_layout(2, D_MODEL, ROWS_PER_CHUNK, request.param)
    with StoreWriter.open(path, layout) as writer:
        writer.append(numbered_rows(layout, 0, N_ROWS))
        writer.finish()
    return path


@settings(max_examples=25, deadline=None)
@given(
    batch_rows=st.integers(1, 2 * N_ROWS),
    bounds=st.tuples(st.integers(0, N_ROWS), st.integers(0, N_ROWS)),
    keep=st.integers(1, 4),
    n_threads=st.integers(1, 3),
)
def test_batches_are_the_stored_rows_in_order_and_stay_valid_while_kept(
    one_store: Path, batch_rows: int, bounds: tuple[int, int], keep: int, n_threads: int
) -> None:
    start, stop = sorted(bounds)
    held: list[tuple[int, dict[str, np.ndarray]]] = []
    with StoreReader.open(one_store, n_threads=n_threads) as reader:
        expected = numbered_rows(reader.layout, 0, N_ROWS)
        at = start
        for batch in reader.batches(batch_rows, start, stop, reader.layout.names, keep=keep):
            held = [*held, (at, batch)][-keep:]
            for first, kept in held:
                for name, array in kept.items():
                    np.testing.assert_array_equal(array, expected[name][first : first + len(array)])
            n_rows = len(batch["source"])
            assert n_rows == min(batch_rows, stop - at)
            at += n_rows
    assert at == stop


@settings(max_examples=25, deadline=None)
@given(
    batch_rows=st.integers(1, 2 * N_ROWS),
    start=st.integers(0, N_ROWS),
    window_rows=st.integers(1, 2 * N_ROWS),
    epoch=st.integers(0, 3),
)
def test_an_epoch_serves_every_row_once_and_resumes_anywhere(
    one_store: Path, batch_rows: int, start: int, window_rows: int, epoch: int
) -> None:
    with StoreReader.open(one_store) as reader:

        def positions(batch_rows: int, start_row: int, stop_row: int | None = None) -> list[int]:
            batches = reader.batches(
                batch_rows,
                start_row,
                stop_row,
                epoch=epoch,
                seed=5,
                window_rows=window_rows,
                names=("position", "activations"),
            )
            served = []
            for batch in batches:
                expected = (batch["position"] - 4)[:, None, None] + np.arange(16).reshape(2, 8) * 7
                np.testing.assert_array_equal(batch["activations"], expected % 60_000)
                served.extend(batch["position"].tolist())
            return served

        whole = positions(17, 0)
        assert sorted(whole) == [31 * row + 4 for row in range(N_ROWS)]
        assert positions(batch_rows, start) == whole[start:]
        assert (
            positions(batch_rows, start, (start + N_ROWS) // 2)
            == whole[start:][: (start + N_ROWS) // 2 - start]
        )


def test_epochs_differ_and_their_order_is_known_beforehand(one_store: Path) -> None:
    with StoreReader.open(one_store) as reader:
        orders = []
        for epoch in (1, 2):
            batches = reader.batches(
                N_ROWS, epoch=epoch, seed=5, window_rows=64, names=("position",)
            )
            orders.append((next(batches)["position"] - 4) // 31)
            order = EpochOrder(N_ROWS, ROWS_PER_CHUNK, 64, seed=5, epoch=epoch)
            foretold = np.concatenate([stored_rows(order, w) for w in range(order.n_windows)])
            np.testing.assert_array_equal(orders[-1], foretold)
    assert (orders[0] != orders[1]).mean() > 0.9


def test_buffers_come_from_the_allocator_and_are_reused(one_store: Path) -> None:
    made: list[np.ndarray] = []

    def allocate(shape: tuple[int, ...], dtype: str) -> np.ndarray:
        made.append(np.empty(shape, dtype))
        return made[-1]

    with StoreReader.open(one_store) as reader:
        for batch in reader.batches(16, allocate=allocate):
            assert any(np.shares_memory(batch["activations"], buffer) for buffer in made)
    assert len(made) == 1


def test_a_batch_stream_given_up_half_way_leaves_no_thread_writing(one_store: Path) -> None:
    before = threading.active_count()
    with StoreReader.open(one_store) as reader:
        stream = reader.batches(8)
        next(stream)
        del stream
    assert threading.active_count() == before


def test_a_missing_store_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="nowhere not found"):
        StoreReader.open(tmp_path / "nowhere")


def test_an_unfinished_store_is_refused(tmp_path: Path, layout: StoreLayout) -> None:
    with StoreWriter.open(tmp_path / "store", layout) as writer:
        writer.append(numbered_rows(layout, 0, N_ROWS))
        writer.flush()
    with pytest.raises(DamagedStoreError, match="is unfinished: run the stage"):
        StoreReader.open(tmp_path / "store")


@settings(max_examples=15, deadline=None)
@given(
    batch_rows=st.integers(1, 90),
    start=st.integers(0, N_ROWS),
    size=st.integers(1, 4),
    n_threads=st.integers(1, 3),
    epoch=st.integers(0, 2),
)
def test_the_parts_of_a_batch_are_the_batch(
    one_store: Path, batch_rows: int, start: int, size: int, n_threads: int, epoch: int
) -> None:
    with StoreReader.open(one_store, n_threads=n_threads) as reader:

        def served(part: Part) -> list[np.ndarray]:
            order: dict[str, Any] = {"epoch": epoch, "seed": 5, "window_rows": 40, "part": part}
            batches = reader.batches(batch_rows, start, None, ("token_id",), **order)
            return [batch["token_id"].copy() for batch in batches]

        whole = served(WHOLE)
        parts = [served(Ranks(rank, size).part) for rank in range(size)]
        for batch, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            assert np.array_equal(np.concatenate(pieces), batch)


def test_chunks_without_a_wanted_row_are_not_read(
    one_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    with StoreReader.open(one_store) as reader:
        original = reader.read_chunk

        def read_chunk(name: str, index: int, out: np.ndarray) -> None:
            read.append(index)
            original(name, index, out)

        monkeypatch.setattr(reader, "read_chunk", read_chunk)
        for _ in reader.batches(4 * ROWS_PER_CHUNK, part=Ranks(1, 2).part):
            pass
    # Ten chunks, four to a batch, of which the second half is wanted: rows 139 to 150 at the end.
    assert sorted(read) == [2, 3, 6, 7, 8, 9]
