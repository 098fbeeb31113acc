"""Deals rows, as they come, to their buckets on disk."""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
from crc32c import crc32c

from pipeline.distributed import ALONE, Ranks
from pipeline.errors import BusyError, MismatchError
from pipeline.shuffle.blocks import STAGE_BYTES, Tails, write_blocks
from pipeline.shuffle.buckets import HEADER, PARTS, PROGRESS, Done, progress_of, read_progress
from pipeline.shuffle.checksums import joined
from pipeline.shuffle.deal import Deal
from pipeline.shuffle.geometry import Geometry
from pipeline.shuffle.memory import producer_load_rows
from pipeline.shuffle.permutation import Permutation, group_rows
from pipeline.store import StoreLayout
from pipeline.store.chunkfile import (
    aligned_empty,
    bytes_of,
    clear_space_errors,
    open_direct,
    sync_directory,
    whole_blocks,
    write_all,
    write_file,
)

# The entry of a writer's open files that holds its lock.
LOCK = ""
# Processor seconds per 1e9 bytes written to the page cache. Memory that was in use before takes 0.2
# to 0.4; a virtual machine that gets its memory from the host at first touch takes 2 and more. The
# way to the disk and back takes about 1 second, and no processor.
MAX_CACHE_SECONDS_PER_GB = 1.0
MIN_CACHE_BYTES = 2**27


class CacheCost:
    """Writes through the page cache and keeps account of the processor time it takes."""

    def __init__(self) -> None:
        self._lock, self._seconds, self._n_bytes = Lock(), 0.0, 0

    def write(self, descriptor: int, data: memoryview, offset: int) -> None:
        began = time.thread_time()
        write_all(descriptor, data, offset)
        with self._lock:
            self._seconds += time.thread_time() - began
            self._n_bytes += len(data)

    @property
    def too_high(self) -> bool:
        """Whether enough was written to tell that the cache costs more than the disk."""
        dear = self._seconds > MAX_CACHE_SECONDS_PER_GB * self._n_bytes / 1e9
        return dear and self._n_bytes >= MIN_CACHE_BYTES


@dataclass
class _Load:
    """Rows `[start, stop)` on their way into the buckets, grouped by bucket as they arrive.

    place: `[stop - start]`, where each row stands in the groups; starts: `[n_buckets + 1]`, where
    each bucket's group begins; filled: rows in each bucket before this load
    """

    start: int
    stop: int
    place: np.ndarray
    starts: np.ndarray
    filled: np.ndarray
    block_filled: np.ndarray
    regions: list[np.ndarray]
    n_rows: int = 0


class BucketWriter(AbstractContextManager["BucketWriter"]):
    """Deals rows, given in input order, to their buckets. Use as a context manager.

    Stands in for a StoreWriter where rows come in order: `next_row`, `append`, `sealed`, `finish`.

    Rows are taken `load_rows` at a time: two loads are in memory, one being filled and one being
    written. After a kill, go on from `next_row`: what is written again is the same bytes.

    Several processes deal a run of the input rows each. Where their pieces meet inside a block of
    the disk, only the page cache puts both there, so they write through it.
    """

    def __init__(
        self,
        path: Path,
        geometry: Geometry,
        done: Done,
        load_rows: int,
        n_threads: int,
        *,
        sealed: bool,
        cached: bool,
        durable: bool,
        ranks: Ranks,
    ) -> None:
        self.path, self._geometry, self._done, self._is_sealed = path, geometry, done, sealed
        self.cached, self._durable, self._ranks = cached, durable, ranks
        self._own = ranks.part(geometry.permutation.n_rows)
        self._cache_cost = CacheCost()
        self._permutation = geometry.permutation
        self._load_rows = min(load_rows, self._permutation.n_rows)
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads, "bucket-writer")
        self._files: dict[str, int] = {}
        self._tails = Tails(geometry)
        self._deal = Deal(self._permutation, done.next_row, done.block_filled)
        self._spare: list[list[np.ndarray]] = []
        self._n_loads_left = 2
        self._load: _Load | None = None
        self._writing: tuple[_Load, list[Future[None]]] | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        layout: StoreLayout,
        permutation: Permutation,
        *,
        load_rows: int,
        n_threads: int = 2,
        cached: bool = False,
        durable: bool = False,
        ranks: Ranks = ALONE,
    ) -> Self:
        """Begin buckets at `path`, or take up what an earlier writer left there.

        cached: write through the page cache, for buckets that are read again soon, for as long as
        that is cheap; `cached` then tells whether it was to the end
        durable: flush every load before it is recorded, so that a power cut costs no more than that
        ranks: the processes that deal together; they open it at the same time
        Raises MismatchError where they were begun for another layout, seed or row count, BusyError
        where another process deals to them.
        """
        geometry = Geometry(layout, permutation)
        locks: list[int] = []  # the first process has it
        done = ranks.from_first(lambda: _take_up(path, geometry, locks))
        sealed = done.next_row == permutation.n_rows
        if ranks.size > 1 and not sealed:
            done = _take_up_part(path, geometry, ranks.part(permutation.n_rows))
        cached = cached or ranks.size > 1
        writer = cls(
            path,
            geometry,
            done,
            load_rows,
            n_threads,
            sealed=sealed,
            cached=cached,
            durable=durable,
            ranks=ranks,
        )
        if locks:
            writer._files[LOCK] = locks[0]
        return writer

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def stop_row(self) -> int:
        """Input row before which `append` has to end in this process."""
        return self._own.stop

    @property
    def next_row(self) -> int:
        """Input row that `append` continues with."""
        if self._load is not None:
            return self._load.start + self._load.n_rows
        return self._writing[0].stop if self._writing else self._done.next_row

    @property
    def sealed(self) -> bool:
        """Whether all rows are in their buckets and the whole is recorded, by an earlier writer or
        by `finish`. The last process's part being done does not say so."""
        return self._is_sealed

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add rows `{name: [n, *shape]}` of every array, in input order; any number n."""
        n_rows = len(next(iter(arrays.values())))
        assert self.next_row + n_rows <= self._own.stop, "more rows than were announced"
        done = 0
        while done < n_rows:
            load = self._load or self._begin()
            n = min(n_rows - done, load.stop - load.start - load.n_rows)
            place = load.place[load.n_rows : load.n_rows + n]
            for name, target in self._geometry.named(load.regions):
                target[place] = arrays[name][done : done + n]
            load.n_rows += n
            done += n
            if load.n_rows == load.stop - load.start:
                self._load = None
                self._write(load)

    def finish(self) -> int:
        """Wait until all rows are in their buckets, those of other processes too. Returns their
        number."""
        assert self.next_row == self._own.stop, "fewer rows than were announced"
        self._settle()
        if self._ranks.size > 1:
            self._join()
        if self._ranks.is_first:  # also what a job of other processes left
            _remove_parts(self.path)
        if self._durable:
            sync_directory(self.path / "c")
            sync_directory(self.path)
        self._ranks.meet()  # nobody looks for the whole record before the first has written it
        self._is_sealed = True
        return self._permutation.n_rows

    def close(self) -> None:
        """Stop the threads. Rows of an unfilled load are not on disk."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _join(self) -> None:
        """Put the parts of all processes together, as one process would have recorded them."""
        permutation, checksums = self._permutation, np.zeros_like(self._done.checksums)
        edges = (permutation.filled_before(row)[1] for row in (self._own.start, self._own.stop))
        first, last = edges
        parts = self._ranks.everyones([(last - first, self._done.checksums)])
        for n_rows, own in parts:
            for (bucket, region), found in np.ndenumerate(own):
                n_bytes = int(n_rows[bucket]) * self._geometry.region_row_bytes[region]
                before = int(checksums[bucket, region])
                checksums[bucket, region] = joined(before, int(found), n_bytes)
        self._done = Done(permutation.n_rows, permutation.capacities, checksums)
        self._ranks.meet()
        if self._ranks.is_first:
            self._end_in_blocks()
            write_file(self.path / PROGRESS, json.dumps(self._done.to_json()).encode())

    def _end_in_blocks(self) -> None:
        """Make every file as long as writes of whole blocks of the disk make it."""
        last_of = {self._geometry.file_name(b): b for b in range(self._permutation.n_buckets)}
        region = len(self._geometry.region_row_bytes) - 1
        for name, bucket in last_of.items():
            end = self._geometry.offset(bucket, region, int(self._permutation.capacities[bucket]))
            os.truncate(self.path / name, whole_blocks(end))

    def _begin(self) -> _Load:
        start = self.next_row
        stop = min(start + self._load_rows, self._own.stop)
        if self._n_loads_left:
            self._n_loads_left -= 1
            regions = self._geometry.empty(self._load_rows)
        else:
            self._settle()
            regions = self._spare.pop()
        buckets, filled = self._deal.take(stop - start)
        # Rows are copied to their groups as they come, so the order that groups them is inverted:
        # `place` says where the n-th row of the load goes.
        order, starts = group_rows(buckets, self._permutation.n_buckets)
        place = np.empty(stop - start, np.int64)
        place[order] = np.arange(stop - start)
        self._load = _Load(start, stop, place, starts, filled, self._deal.block_filled, regions)
        return self._load

    def _write(self, load: _Load) -> None:
        """Hand a full load to the threads: each writes the pieces of a share of the buckets."""
        self._settle()
        touched = np.flatnonzero(np.diff(load.starts))
        with clear_space_errors(self.path):
            for bucket in touched.tolist():
                self._descriptor(self._geometry.file_name(bucket))
        shares = np.array_split(touched, self._n_threads)
        self._writing = (load, [self._pool.submit(self._write_pieces, load, s) for s in shares])

    def _write_pieces(self, load: _Load, buckets: np.ndarray) -> None:
        checksums, geometry = self._done.checksums, self._geometry
        stage = aligned_empty(STAGE_BYTES, np.uint8).data
        regions = [(r, bytes_of(a)) for r, a in enumerate(load.regions)]
        with clear_space_errors(self.path):
            for bucket in buckets.tolist():
                first, last = int(load.starts[bucket]), int(load.starts[bucket + 1])
                descriptor = self._files[geometry.file_name(bucket)]
                for region, rows in regions:
                    width = geometry.region_row_bytes[region]
                    piece = rows[first * width : last * width]
                    offset = geometry.offset(bucket, region, int(load.filled[bucket]))
                    if self.cached:
                        self._cache_cost.write(descriptor, piece, offset)
                    else:
                        tail = self._tails.before(descriptor, bucket, region, offset)
                        write_blocks(descriptor, piece, offset, tail, stage)
                    checksums[bucket, region] = crc32c(piece, int(checksums[bucket, region]))

    def _settle(self) -> None:
        """Wait for the load being written and record it as done."""
        if self._writing is None:
            return
        # The order matters. `progress.json` names the first row that is not in the buckets, so it
        # is replaced after the pieces are written (and flushed, where they are to outlive a power
        # cut). A kill in between costs one load, which is then written again: the same bytes to the
        # same places.
        load, writes = self._writing
        for write in writes:
            write.result()
        self._writing = None
        if self.cached and self._cache_cost.too_high and self._ranks.size == 1:
            self._leave_cache()
        if self._durable:
            with clear_space_errors(self.path):
                for descriptor in self._files.values():
                    os.fsync(descriptor)
        self._spare.append(load.regions)
        self._done.next_row, self._done.block_filled = load.stop, load.block_filled
        name = PROGRESS if self._ranks.size == 1 else progress_of(self._own)
        write_file(self.path / name, json.dumps(self._done.to_json()).encode())

    def _leave_cache(self) -> None:
        """Go on past the page cache: memory of this machine is dearer than its disk."""
        self.cached = False
        self._tails = Tails(self._geometry)
        for name in [name for name in self._files if name != LOCK]:
            os.close(self._files.pop(name))

    def _descriptor(self, name: str) -> int:
        if name not in self._files:
            flags = os.O_RDWR | os.O_CREAT
            file = self.path / name
            self._files[name] = (
                os.open(file, flags, 0o666) if self.cached else open_direct(file, flags)[0]
            )
        return self._files[name]


def _take_up(path: Path, geometry: Geometry, locks: list[int]) -> Done:
    """Lock the buckets, and write the header, or hold it against an earlier writer's; what that one
    has done. The lock goes to `locks`."""
    with clear_space_errors(path):
        (path / "c").mkdir(parents=True, exist_ok=True)
        lock = lock_folder(path)
    try:
        done = _begun(path, geometry)
        if done.next_row == geometry.permutation.n_rows:
            _remove_parts(path)  # a kill came between the whole record and this
    except BaseException:
        os.close(lock)
        raise
    locks.append(lock)
    return done


def _remove_parts(path: Path) -> None:
    for part in path.glob(PARTS):
        part.unlink()


def _take_up_part(path: Path, geometry: Geometry, rows: range) -> Done:
    """What an earlier one of several processes has done of these rows."""
    done = read_progress(path, geometry, progress_of(rows))
    if done is not None:
        return done
    filled, _ = geometry.permutation.filled_before(rows.start)
    shape = (geometry.permutation.n_buckets, len(geometry.region_row_bytes))
    return Done(rows.start, filled, np.zeros(shape, np.uint32))


def _begun(path: Path, geometry: Geometry) -> Done:
    """What the header and the progress of an earlier writer say; the header is written where there
    is none."""
    header = json.dumps(geometry.header(), sort_keys=True).encode()
    permutation = geometry.permutation
    if not (path / HEADER).exists():
        write_file(path / HEADER, header)
    elif (path / HEADER).read_bytes() != header:
        raise MismatchError(
            f"{path / HEADER} was written for another layout, seed or row count than the "
            f"{permutation.n_rows:,} rows of seed {permutation.seed} asked for: "
            f"remove {path} and run again"
        )
    return read_progress(path, geometry) or Done(
        0,
        np.zeros(permutation.n_buckets, np.int64),
        np.zeros((permutation.n_buckets, len(geometry.region_row_bytes)), np.uint32),
    )


def lock_folder(path: Path) -> int:
    """An open, locked descriptor of a folder; BusyError where another process holds it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BusyError(
            f"{path} is held by another process, which is dealing the same rows: wait for it to "
            "end, or stop it, and run again"
        ) from error
    return descriptor


def deal_as_produced(
    path: Path,
    layout: StoreLayout,
    n_rows: int,
    *,
    seed: int,
    buffer_bytes: int,
    n_threads: int,
    ranks: Ranks = ALONE,
) -> BucketWriter:
    """A writer of buckets at `path` for a producer of rows, within `buffer_bytes` of memory in each
    process.

    What it leaves is an artifact, not scratch, so every load is flushed before it is recorded.
    """
    permutation = Permutation(seed, n_rows)
    return BucketWriter.open(
        path,
        layout,
        permutation,
        load_rows=producer_load_rows(layout, permutation, buffer_bytes, n_threads),
        n_threads=n_threads,
        durable=True,
        ranks=ranks,
    )
