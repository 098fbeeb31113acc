"""The shuffled store: the permuted rows, whatever the memory, the threads and the interruptions."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BusyError, ConfigError, DamagedStoreError, MismatchError, NoSpaceError
from pipeline.shuffle import blocks as blocks_module
from pipeline.shuffle import geometry as geometry_module
from pipeline.shuffle import memory as memory_module
from pipeline.shuffle import permutation as permutation_module
from pipeline.shuffle import scatter as scatter_module
from pipeline.shuffle.memory import least_bytes, plan_memory
from pipeline.shuffle.permutation import Permutation
from pipeline.shuffle.scatter import BucketWriter
from pipeline.shuffle.shuffle import Ordering, shuffle_store
from pipeline.store import StoreLayout, StoreReader, StoreWriter, activation_layout, verify_store
from pipeline.store.codecs import CODECS
from tests.store.numbered import bytes_below, numbered_rows

N_ROWS = 3000
SEED = 11
LAYOUT = activation_layout(2, 150, 64)
PLENTY = 2**30


@pytest.fixture(autouse=True)
def _many_small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation_module, "MIN_BUCKET_ROWS", 512)
    monkeypatch.setattr(permutation_module, "ROWS_PER_PIECE", 4)
    monkeypatch.setattr(geometry_module, "MAX_FILES", 10)
    monkeypatch.setattr(memory_module, "SLACK_BYTES", 0)
    monkeypatch.setattr(memory_module, "MIN_SLAB_ROWS", 16)
    for module in (memory_module, blocks_module, scatter_module):
        monkeypatch.setattr(module, "STAGE_BYTES", 8192)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("source") / "store", LAYOUT)


def write_store(path: Path, layout: StoreLayout) -> Path:
    with StoreWriter.open(path, layout) as writer:
        writer.append(numbered_rows(layout, 0, N_ROWS))
        writer.finish()
    return path


def smallest(layout: StoreLayout = LAYOUT) -> int:
    return least_bytes(layout, Permutation(SEED, N_ROWS))


@pytest.fixture
def expected(source: Path, tmp_path: Path) -> dict[str, bytes]:
    """Files of the store shuffled all in memory."""
    shuffle_store(source, tmp_path / "expected", seed=SEED, buffer_bytes=PLENTY)
    return bytes_below(tmp_path / "expected")


def test_rows_are_permuted_and_keep_all_their_arrays(source: Path, tmp_path: Path) -> None:
    assert shuffle_store(source, tmp_path / "out", seed=SEED, buffer_bytes=smallest()) == N_ROWS
    sources = Permutation(SEED, N_ROWS).sources()
    rows = numbered_rows(LAYOUT, 0, N_ROWS)
    verify_store(tmp_path / "out")
    with StoreReader.open(tmp_path / "out") as reader:
        assert reader.layout == LAYOUT
        for name in LAYOUT.names:
            np.testing.assert_array_equal(reader.read(name), rows[name][sources])


@pytest.mark.parametrize(("n_threads", "cached"), [(1, True), (3, True), (1, False), (3, False)])
@pytest.mark.parametrize("extra", [0, 200_000, 600_000])
def test_memory_and_threads_do_not_change_a_byte(
    source: Path,
    tmp_path: Path,
    expected: dict[str, bytes],
    extra: int,
    n_threads: int,
    cached: bool,
) -> None:
    memory, out = smallest() + extra, tmp_path / "out"
    shuffle_store(source, out, seed=SEED, buffer_bytes=memory, n_threads=n_threads, cached=cached)
    assert bytes_below(out) == expected


def test_the_plans_of_the_test_above_take_every_path() -> None:
    def plan(extra: int) -> tuple[bool, int]:
        made = plan_memory(LAYOUT, Permutation(SEED, N_ROWS), smallest() + extra, 1)
        return made.in_memory, made.n_bucket_buffers

    assert plan(0) == (False, 0)
    assert plan(200_000) == (False, 1)
    assert plan(600_000)[1] > 1
    assert plan(PLENTY)[0]


@pytest.mark.parametrize("codec", CODECS[1:])
@pytest.mark.parametrize("way", ["two passes", "in memory", "dealt"])
def test_a_coded_store_is_shuffled_to_one_of_the_same_codec(
    tmp_path: Path, codec: str, way: str
) -> None:
    layout = replace(LAYOUT, codec=codec)
    permutation = Permutation(SEED, N_ROWS)
    if way == "dealt":
        with BucketWriter.open(tmp_path / "source", layout, permutation, load_rows=500) as writer:
            writer.append(numbered_rows(layout, 0, N_ROWS))
            writer.finish()
    else:
        write_store(tmp_path / "source", layout)
    memory = PLENTY if way == "in memory" else least_bytes(layout, permutation)
    shuffle_store(tmp_path / "source", tmp_path / "out", seed=SEED, buffer_bytes=memory)
    verify_store(tmp_path / "out")
    with StoreReader.open(tmp_path / "out") as reader:
        assert reader.layout == layout
        for name, rows in numbered_rows(layout, 0, N_ROWS).items():
            np.testing.assert_array_equal(reader.read(name), rows[permutation.sources()])


def test_chunks_that_do_not_divide_buckets_are_no_matter(tmp_path: Path) -> None:
    layout = activation_layout(2, 150, 90)
    source = write_store(tmp_path / "source", layout)
    memory = least_bytes(layout, Permutation(SEED, N_ROWS)) + 600_000
    shuffle_store(source, tmp_path / "out", seed=SEED, buffer_bytes=memory)
    with StoreReader.open(tmp_path / "out") as reader:
        position = numbered_rows(layout, 0, N_ROWS)["position"]
        sources = Permutation(SEED, N_ROWS).sources()
        np.testing.assert_array_equal(reader.read("position"), position[sources])


class KilledError(Exception):
    """Stands for the end of the process at a report."""


@pytest.mark.parametrize("extra", [0, 600_000])
def test_a_shuffle_broken_off_anywhere_goes_on_to_the_same_bytes(
    source: Path, tmp_path: Path, expected: dict[str, bytes], extra: int
) -> None:
    out = tmp_path / "out"
    done = 0
    for stop_after in range(400, 2 * N_ROWS, 700):
        done = 0

        def report(n_rows: int, stop_after: int = stop_after) -> None:
            nonlocal done
            done += n_rows
            if done >= stop_after:
                raise KilledError

        with pytest.raises(KilledError):
            shuffle_store(
                source,
                out,
                seed=SEED,
                buffer_bytes=smallest() + extra,
                cached=stop_after % 200 == 0,  # some breaks of each kind
                report=report,
            )
    shuffle_store(source, out, seed=SEED, buffer_bytes=smallest() + extra)
    assert bytes_below(out) == expected


def test_a_cache_that_proves_dear_is_left_on_the_way_for_the_same_bytes(
    source: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scatter_module, "MIN_CACHE_BYTES", 300_000)
    monkeypatch.setattr(scatter_module, "MAX_CACHE_SECONDS_PER_GB", 0.0)
    monkeypatch.setattr(memory_module, "ENOUGH_LOAD_BYTES", 100_000)
    monkeypatch.setattr(memory_module, "ENOUGH_PIECE_BYTES", 1000)
    left: list[int] = []
    true_leave = BucketWriter._leave_cache

    def leave(writer: BucketWriter) -> None:
        left.append(writer._done.next_row)
        true_leave(writer)

    monkeypatch.setattr(BucketWriter, "_leave_cache", leave)
    out = tmp_path / "out"
    shuffle_store(source, out, seed=SEED, buffer_bytes=smallest() + 600_000, cached=True)
    assert len(left) == 1
    assert 0 < left[0] < N_ROWS
    assert bytes_below(out) == expected


def test_progress_counts_every_row_twice_also_after_a_break(source: Path, tmp_path: Path) -> None:
    for buffer_bytes in (smallest(), PLENTY):
        told: list[int] = []
        out = tmp_path / str(buffer_bytes)
        shuffle_store(source, out, seed=SEED, buffer_bytes=buffer_bytes, report=told.append)
        assert sum(told) == 2 * N_ROWS


def deal(path: Path, stop: int, step: int, load_rows: int = 500) -> None:
    """Scatter rows as a producer would, up to row `stop`."""
    permutation = Permutation(SEED, N_ROWS)
    with BucketWriter.open(path, LAYOUT, permutation, load_rows=load_rows) as writer:
        while writer.next_row < stop:
            start = writer.next_row
            writer.append(numbered_rows(LAYOUT, start, min(start + step, stop)))
        if stop == N_ROWS:
            writer.finish()


def test_a_producer_that_scatters_gets_the_same_store(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    deal(tmp_path / "buckets", N_ROWS, 77)
    shuffle_store(tmp_path / "buckets", tmp_path / "out", seed=SEED, buffer_bytes=PLENTY)
    assert bytes_below(tmp_path / "out") == expected
    Ordering.open(tmp_path / "buckets", tmp_path / "again", buffer_bytes=smallest()).run()
    assert bytes_below(tmp_path / "again") == expected


def test_a_producer_may_stop_anywhere_and_change_its_memory(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    for stop, load_rows in ((700, 90), (701, 300), (1999, 64), (2500, 1000), (N_ROWS, 41)):
        deal(tmp_path / "buckets", stop, 50, load_rows)
    Ordering.open(tmp_path / "buckets", tmp_path / "out", buffer_bytes=PLENTY).run()
    assert bytes_below(tmp_path / "out") == expected


def test_a_second_producer_of_the_same_buckets_is_refused(tmp_path: Path) -> None:
    permutation = Permutation(SEED, N_ROWS)
    with (
        BucketWriter.open(tmp_path / "buckets", LAYOUT, permutation, load_rows=50),
        pytest.raises(BusyError, match="held by another process"),
    ):
        BucketWriter.open(tmp_path / "buckets", LAYOUT, permutation, load_rows=50)
    deal(tmp_path / "buckets", N_ROWS, 100)


def test_unfinished_buckets_are_refused(tmp_path: Path) -> None:
    deal(tmp_path / "buckets", 2000, 77)
    with pytest.raises(DamagedStoreError, match="unfinished"):
        Ordering.open(tmp_path / "buckets", tmp_path / "out", buffer_bytes=PLENTY).run()


def test_buckets_dealt_for_another_seed_are_not_shuffled(tmp_path: Path) -> None:
    deal(tmp_path / "buckets", N_ROWS, 500)
    with pytest.raises(MismatchError, match=r"shuffle\.seed 11, but the configuration says 12"):
        shuffle_store(tmp_path / "buckets", tmp_path / "out", seed=12, buffer_bytes=PLENTY)


def test_buckets_of_another_seed_are_refused(tmp_path: Path) -> None:
    deal(tmp_path / "buckets", 100, 50)
    with pytest.raises(MismatchError, match="another layout, seed or row count"):
        BucketWriter.open(tmp_path / "buckets", LAYOUT, Permutation(1, N_ROWS), load_rows=10)


@pytest.mark.parametrize("memory", ["parts", "whole"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_a_damaged_bucket_is_refused_with_its_file(
    tmp_path: Path, damage: str, memory: str
) -> None:
    deal(tmp_path / "buckets", N_ROWS, 500)
    file = tmp_path / "buckets" / "c" / "00001.bin"
    data = bytearray(file.read_bytes())
    data[1000] ^= 4
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(data if damage == "flip" else data[:900])
    buffer_bytes = smallest() if memory == "parts" else PLENTY
    with pytest.raises(DamagedStoreError, match=r"00001\.bin"):
        Ordering.open(tmp_path / "buckets", tmp_path / "out", buffer_bytes=buffer_bytes).run()


def test_a_damaged_source_is_refused(tmp_path: Path) -> None:
    source = write_store(tmp_path / "source", LAYOUT)
    chunk = source / LAYOUT.chunk_path("token_class", 20)
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)
    for buffer_bytes in (smallest(), PLENTY):
        with pytest.raises(DamagedStoreError, match=r"\(chunk 20 of token_class\)"):
            shuffle_store(source, tmp_path / "out", seed=SEED, buffer_bytes=buffer_bytes)


@pytest.mark.parametrize("extra", [0, PLENTY])
def test_a_full_disk_keeps_the_work_and_a_rerun_finishes(
    source: Path,
    tmp_path: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    extra: int,
) -> None:
    out, true_write, free_bytes = tmp_path / "out", os.pwrite, 0

    def write_until_full(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal free_bytes
        free_bytes -= len(data)
        if free_bytes < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return true_write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", write_until_full)
    refusals = []
    while not (out / "seal.json").exists():
        free_bytes = 500_000
        try:
            shuffle_store(source, out, seed=SEED, buffer_bytes=smallest() + extra)
        except NoSpaceError as error:
            refusals.append(str(error))
    assert len(refusals) >= 3
    assert all("free some space and run the same command again" in text for text in refusals)
    assert bytes_below(out) == expected


def test_too_little_memory_is_refused_with_what_is_needed(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"raise shuffle\.memory_bytes by 1 or lower"):
        shuffle_store(source, tmp_path / "out", seed=SEED, buffer_bytes=smallest() - 1)


def test_scratch_is_gone_in_the_end(source: Path, tmp_path: Path) -> None:
    shuffle_store(source, tmp_path / "out", seed=SEED, buffer_bytes=smallest())
    assert not (tmp_path / "out" / "buckets").exists()
