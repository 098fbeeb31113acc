"""The arithmetic at 400 million rows of 2 x 2,304: nothing overflows, nothing is kept per row."""

import tracemalloc

import numpy as np
import pytest

from pipeline.shuffle.buckets import Geometry
from pipeline.shuffle.memory import plan_memory
from pipeline.shuffle.permutation import Permutation
from pipeline.store import activation_layout
from pipeline.store.epochs import EpochOrder
from tests.store.numbered import stored_rows

N_ROWS = 400_000_000
LAYOUT = activation_layout(2, 2304, 4096)


@pytest.fixture(scope="module")
def permutation() -> Permutation:
    return Permutation(49, N_ROWS)


def test_buckets_cover_all_rows_and_hold_whole_chunks(permutation: Permutation) -> None:
    assert permutation.bucket_rows == 131_072
    assert permutation.n_buckets == 3052
    assert permutation.capacities.sum() == N_ROWS
    assert permutation.bucket_range(permutation.n_buckets - 1)[1] == N_ROWS
    assert permutation.bucket_rows % LAYOUT.rows_per_chunk == 0


def test_dealing_the_first_blocks_takes_memory_of_a_block_not_of_the_rows(
    permutation: Permutation,
) -> None:
    tracemalloc.start()
    filled = np.zeros(permutation.n_buckets, np.int64)
    for _, block in zip(range(3), permutation.blocks(), strict=False):
        np.testing.assert_array_equal(block.filled, filled)
        filled += np.bincount(block.buckets, minlength=permutation.n_buckets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert filled.sum() == 3 * permutation.bucket_rows
    assert peak < 10_000_000


def test_dealing_at_the_far_end_fills_every_bucket_exactly(permutation: Permutation) -> None:
    """Begin two blocks before the end, with room left in every bucket as it could be there."""
    first = permutation.n_blocks - 2
    left = N_ROWS - first * permutation.bucket_rows
    room = np.full(permutation.n_buckets, left // permutation.n_buckets)
    room[: left - room.sum()] += 1
    filled = permutation.capacities - room
    for block in permutation.blocks(first, filled):
        filled = block.filled + np.bincount(block.buckets, minlength=permutation.n_buckets)
        assert block.stop > 2**28
    np.testing.assert_array_equal(filled, permutation.capacities)


def test_bucket_files_are_few_and_their_regions_do_not_overlap(permutation: Permutation) -> None:
    geometry = Geometry(LAYOUT, permutation)
    files = {geometry.file_name(bucket) for bucket in range(permutation.n_buckets)}
    assert len(files) <= 256
    last_end: dict[str, int] = {}
    for bucket in range(permutation.n_buckets):
        for region, width in enumerate(geometry.region_row_bytes):
            name = geometry.file_name(bucket)
            start = geometry.offset(bucket, region, 0)
            assert start == last_end.get(name, 0)
            last_end[name] = geometry.offset(bucket, region, permutation.bucket_rows)
            assert last_end[name] - start == width * permutation.bucket_rows
    assert sum(last_end.values()) >= N_ROWS * LAYOUT.row_bytes > 3.6e12


def test_five_gigabytes_hold_several_buckets_and_write_pieces_worth_a_disk_access(
    permutation: Permutation,
) -> None:
    plan = plan_memory(LAYOUT, permutation, 5_000_000_000, 2)
    assert plan.n_bucket_buffers >= 2
    piece_bytes = plan.load_rows / permutation.n_buckets * LAYOUT.row_bytes
    assert piece_bytes > 400_000


def test_an_epoch_order_at_full_size_serves_every_row_once() -> None:
    order = EpochOrder(N_ROWS, LAYOUT.rows_per_chunk, 65_536, seed=0, epoch=3)
    assert order.window_starts[0] == 0
    assert order.window_starts[-1] == N_ROWS
    assert np.diff(order.window_starts).min() > 0
    np.testing.assert_array_equal(np.sort(order.chunks), np.arange(LAYOUT.n_chunks(N_ROWS)))
    rows = stored_rows(order, order.n_windows - 1)
    assert len(np.unique(rows)) == len(rows) == order.window_starts[-1] - order.window_starts[-2]
    assert rows.max() < N_ROWS


def test_chunk_arithmetic_at_the_last_row() -> None:
    last = LAYOUT.n_chunks(N_ROWS) - 1
    assert last == 97_656
    assert LAYOUT.chunk_path("activations", last) == "activations/c/97656/0/0"
