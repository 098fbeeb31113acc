"""Buckets on disk: rows dealt to the bucket of the shuffled store that each will end up in.

The first half of the exact shuffle. Where each row goes is known from seed and row count alone, so
a producer that knows its row count can scatter while it produces, and the shuffle then reads and
writes every row once more instead of twice.

`buckets.json`    layout, seed, row count
`progress.json`   rows dealt so far, and the crc32c of every bucket so far; replaced atomically
`c/NNNNN.bin`     runs of buckets. A bucket is one region per wide array and one for all narrow ones
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from crc32c import crc32c

from pipeline.errors import DamagedStoreError, MismatchError
from pipeline.shuffle.permutation import Block, Permutation, group_rows
from pipeline.store import StoreLayout
from pipeline.store.chunkfile import (
    BLOCK_BYTES,
    aligned_empty,
    bytes_of,
    clear_space_errors,
    open_direct,
    read_all,
    whole_blocks,
    write_all,
    write_file,
)
from pipeline.store.layout import ArraySpec

HEADER = "buckets.json"
PROGRESS = "progress.json"
# Arrays with shorter rows are packed into one record, so that a piece is one write for all of them.
WIDE_ROW_BYTES = 512
MAX_FILES = 256
# Pieces go to the disk past the page cache, by way of a block-aligned buffer of this size.
STAGE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Geometry:
    """Where everything stands in the bucket files."""

    layout: StoreLayout
    permutation: Permutation

    @cached_property
    def wide(self) -> tuple[ArraySpec, ...]:
        return tuple(s for s in self.layout.arrays if s.row_bytes >= WIDE_ROW_BYTES)

    @cached_property
    def narrow(self) -> np.dtype:
        """One packed record of all narrow arrays' values of a row."""
        specs = [s for s in self.layout.arrays if s.row_bytes < WIDE_ROW_BYTES]
        return np.dtype([(s.name, s.dtype, s.shape) for s in specs])

    @cached_property
    def region_row_bytes(self) -> tuple[int, ...]:
        """Bytes of a row in each region: the wide arrays, then the narrow record."""
        widths = tuple(spec.row_bytes for spec in self.wide)
        return (*widths, self.narrow.itemsize) if self.narrow.itemsize else widths

    @cached_property
    def region_bytes(self) -> tuple[int, ...]:
        """Bytes of each region of a bucket, in whole blocks."""
        capacity = self.permutation.bucket_rows
        return tuple(whole_blocks(capacity * width) for width in self.region_row_bytes)

    @cached_property
    def buckets_per_file(self) -> int:
        return -(-self.permutation.n_buckets // MAX_FILES)

    def file_name(self, bucket: int) -> str:
        return f"c/{bucket // self.buckets_per_file:05d}.bin"

    def offset(self, bucket: int, region: int, rank: int) -> int:
        """Byte offset in its file of a row of a bucket's region."""
        start = bucket % self.buckets_per_file * sum(self.region_bytes)
        start += sum(self.region_bytes[:region])
        return start + rank * self.region_row_bytes[region]

    def empty(self, n_rows: int) -> list[np.ndarray]:
        """One uninitialised array `[n_rows, ...]` per region."""
        regions = [aligned_empty((n_rows, *spec.shape), spec.dtype) for spec in self.wide]
        return [*regions, aligned_empty(n_rows, self.narrow)] if self.narrow.itemsize else regions

    def named(self, regions: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """(array name, its rows) of a set of region arrays."""
        for spec, array in zip(self.wide, regions, strict=False):
            yield spec.name, array
        for name in self.narrow.names or ():
            yield name, regions[-1][name]

    def header(self) -> dict[str, Any]:
        permutation = self.permutation
        return {
            "format_version": 1,
            "seed": permutation.seed,
            "n_rows": permutation.n_rows,
            "layout": self.layout.to_json(),
        }


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


@dataclass
class _Done:
    """What `progress.json` says. block_filled: rows per bucket before the block of `next_row`."""

    next_row: int
    block_filled: np.ndarray
    checksums: np.ndarray

    def to_json(self) -> dict[str, Any]:
        return {
            "next_row": self.next_row,
            "block_filled": self.block_filled.tolist(),
            "checksums": self.checksums.tolist(),
        }


class BucketWriter:
    """Deals rows, given in input order, to their buckets. Use as a context manager.

    Stands in for a StoreWriter where rows come in order: `next_row`, `append`, `sealed`, `finish`.

    Rows are taken `load_rows` at a time: two loads are in memory, one being filled and one being
    written. After a kill, go on from `next_row`: what is written again is the same bytes.
    """

    def __init__(
        self, path: Path, geometry: Geometry, done: _Done, load_rows: int, n_threads: int
    ) -> None:
        self.path, self._geometry, self._done = path, geometry, done
        self._permutation = geometry.permutation
        self._load_rows = min(load_rows, self._permutation.n_rows)
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads, "bucket-writer")
        self._files: dict[str, int] = {}
        self._tails = Tails(geometry)
        self._deal = _Deal(self._permutation, done.next_row, done.block_filled)
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
    ) -> Self:
        """Begin buckets at `path`, or take up what an earlier writer left there.

        Raises MismatchError where they were begun for another layout, seed or row count.
        """
        geometry = Geometry(layout, permutation)
        with clear_space_errors(path):
            (path / "c").mkdir(parents=True, exist_ok=True)
            header = json.dumps(geometry.header(), sort_keys=True).encode()
            if not (path / HEADER).exists():
                write_file(path / HEADER, header)
            elif (path / HEADER).read_bytes() != header:
                raise MismatchError(
                    f"{path / HEADER} was written for another layout, seed or row count than the "
                    f"{permutation.n_rows:,} rows of seed {permutation.seed} asked for: "
                    f"remove {path} and run again"
                )
        done = _read_progress(path, geometry) or _Done(
            0,
            np.zeros(permutation.n_buckets, np.int64),
            np.zeros((permutation.n_buckets, len(geometry.region_row_bytes)), np.uint32),
        )
        return cls(path, geometry, done, load_rows, n_threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def next_row(self) -> int:
        """Input row that `append` continues with."""
        if self._load is not None:
            return self._load.start + self._load.n_rows
        return self._writing[0].stop if self._writing else self._done.next_row

    @property
    def sealed(self) -> bool:
        """Whether all rows are in their buckets, as of an earlier writer."""
        return self._done.next_row == self._permutation.n_rows

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add rows `{name: [n, *shape]}` of every array, in input order; any number n."""
        n_rows = len(next(iter(arrays.values())))
        assert self.next_row + n_rows <= self._permutation.n_rows, "more rows than were announced"
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
        """Wait until all rows are in their buckets. Returns their number."""
        assert self.next_row == self._permutation.n_rows, "fewer rows than were announced"
        self._settle()
        return self._permutation.n_rows

    def close(self) -> None:
        """Stop the threads. Rows of an unfilled load are not on disk."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _begin(self) -> _Load:
        start = self.next_row
        stop = min(start + self._load_rows, self._permutation.n_rows)
        if self._n_loads_left:
            self._n_loads_left -= 1
            regions = self._geometry.empty(self._load_rows)
        else:
            self._settle()
            regions = self._spare.pop()
        buckets, filled = self._deal.take(stop - start)
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
                    tail = self._tails.before(descriptor, bucket, region, offset)
                    write_blocks(descriptor, piece, offset, tail, stage)
                    checksums[bucket, region] = crc32c(piece, int(checksums[bucket, region]))

    def _settle(self) -> None:
        """Wait for the load being written and record it as done."""
        if self._writing is None:
            return
        load, writes = self._writing
        for write in writes:
            write.result()
        self._writing = None
        self._spare.append(load.regions)
        self._done.next_row, self._done.block_filled = load.stop, load.block_filled
        write_file(self.path / PROGRESS, json.dumps(self._done.to_json()).encode())

    def _descriptor(self, name: str) -> int:
        if name not in self._files:
            self._files[name], _ = open_direct(self.path / name, os.O_RDWR | os.O_CREAT)
        return self._files[name]


class Tails:
    """The last, partly filled block of every region: the next piece begins in the middle of it."""

    def __init__(self, geometry: Geometry) -> None:
        shape = (geometry.permutation.n_buckets, len(geometry.region_row_bytes))
        self._blocks = np.zeros((*shape, BLOCK_BYTES), np.uint8)
        self._known = np.zeros(shape, bool)

    def before(self, descriptor: int, bucket: int, region: int, offset: int) -> memoryview:
        """The block that byte `offset` is in; read from the disk after an earlier run's end."""
        block = self._blocks[bucket, region]
        if not self._known[bucket, region] and offset % BLOCK_BYTES:
            aligned = aligned_empty(BLOCK_BYTES, np.uint8)
            read_all(descriptor, aligned.data, offset // BLOCK_BYTES * BLOCK_BYTES)
            block[:] = aligned
        self._known[bucket, region] = True
        return block.data


def write_blocks(
    descriptor: int, data: memoryview, offset: int, tail: memoryview, stage: memoryview
) -> None:
    """Write `data` at any offset in whole, aligned blocks.

    tail: the contents so far of the block that `offset` is in; afterwards of the last block
    stage: aligned memory to write from
    """
    while len(data):
        head = offset % BLOCK_BYTES
        n = min(len(data), len(stage) - head)
        stage[:head] = tail[:head]
        stage[head : head + n] = data[:n]
        left = (head + n) % BLOCK_BYTES
        tail[:left] = stage[head + n - left : head + n]
        write_all(descriptor, stage[: whole_blocks(head + n)], offset - head)
        data, offset = data[n:], offset + n


class _Deal:
    """The buckets of successive rows, from any row on."""

    def __init__(self, permutation: Permutation, next_row: int, block_filled: np.ndarray) -> None:
        self._n_buckets = permutation.n_buckets
        first = next_row // permutation.bucket_rows
        self._blocks = permutation.blocks(first, block_filled)
        self._row = next_row
        self._block: Block | None = None
        self.block_filled = block_filled

    def take(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Buckets of the next `n_rows` rows, and the rows in each bucket before them.

        Afterwards `block_filled` holds the rows per bucket before the block of the next row.
        """
        parts: list[np.ndarray] = []
        filled: np.ndarray | None = None
        stop = self._row + n_rows
        while self._row < stop:
            if self._block is None or self._row == self._block.stop:
                self._block = next(self._blocks)
            block = self._block
            at = self._row - block.start
            if filled is None:
                before = np.bincount(block.buckets[:at], minlength=self._n_buckets)
                filled = block.filled + before
            part = block.buckets[at : at + stop - self._row]
            parts.append(part)
            self._row += len(part)
        assert self._block is not None
        assert filled is not None
        self.block_filled = self._block.filled
        if self._row == self._block.stop:
            counts = np.bincount(self._block.buckets, minlength=self._n_buckets)
            self.block_filled = self._block.filled + counts
        return np.concatenate(parts), filled


@dataclass
class BucketReader:
    """Finished buckets. load: a bucket's rows in order of arrival, checked."""

    path: Path
    geometry: Geometry
    checksums: np.ndarray
    n_released: int = field(default=0)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open finished buckets. Raises DamagedStoreError where they are not finished."""
        try:
            header = json.loads((path / HEADER).read_bytes())
            permutation = Permutation(header["seed"], header["n_rows"])
            geometry = Geometry(StoreLayout.from_json(header["layout"]), permutation)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedStoreError(_damage(path, path / HEADER, f"unreadable: {error}")) from error
        done = _read_progress(path, geometry)
        if done is None or done.next_row != permutation.n_rows:
            raise DamagedStoreError(_damage(path, path / PROGRESS, "the buckets are unfinished"))
        return cls(path, geometry, done.checksums)

    @property
    def permutation(self) -> Permutation:
        return self.geometry.permutation

    def load(self, bucket: int, regions: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Fill region arrays with a bucket and return its arrays, rows in order of arrival.

        Raises DamagedStoreError where the bucket is not as it was written.
        """
        n_rows = int(self.geometry.permutation.capacities[bucket])
        arrays = [array[:n_rows] for array in regions]
        with self._opened(bucket) as descriptor:
            for region, array in enumerate(arrays):
                offset = self.geometry.offset(bucket, region, 0)
                self._check(bucket, region, read_and_sum(descriptor, bytes_of(array), offset))
        return {name: np.ascontiguousarray(array) for name, array in self.geometry.named(arrays)}

    def slabs(
        self, bucket: int, region: int, slab_rows: int, out: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(first rank, rows) of a region, slab after slab, all in `out` `[>= slab_rows, ...]`.

        Raises DamagedStoreError after the last slab where the whole is not as it was written.
        """
        n_rows = int(self.geometry.permutation.capacities[bucket])
        checksum = 0
        with self._opened(bucket, direct=False) as descriptor:
            for first in range(0, n_rows, slab_rows):
                rows = out[: min(slab_rows, n_rows - first)]
                payload = bytes_of(rows)
                got = read_all(descriptor, payload, self.geometry.offset(bucket, region, first))
                checksum = crc32c(payload[:got], checksum)
                yield first, rows
        self._check(bucket, region, checksum)

    @contextmanager
    def _opened(self, bucket: int, *, direct: bool = True) -> Iterator[int]:
        file = self.path / self.geometry.file_name(bucket)
        try:
            descriptor = open_direct(file, os.O_RDONLY)[0] if direct else os.open(file, os.O_RDONLY)
        except OSError as error:
            what = f"cannot be opened ({error.strerror})"
            raise DamagedStoreError(_damage(self.path, file, what)) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _check(self, bucket: int, region: int, found: int) -> None:
        expected = int(self.checksums[bucket, region])
        if found != expected:
            file = self.path / self.geometry.file_name(bucket)
            what = f"bucket {bucket} has crc32c {found:08x}, {expected:08x} was recorded"
            raise DamagedStoreError(_damage(self.path, file, what))

    def release(self, n_buckets: int) -> None:
        """Delete the files that hold only the first `n_buckets` buckets."""
        per_file = self.geometry.buckets_per_file
        while (self.n_released + 1) * per_file <= n_buckets:
            (self.path / self.geometry.file_name(self.n_released * per_file)).unlink(
                missing_ok=True
            )
            self.n_released += 1


def read_and_sum(descriptor: int, payload: memoryview, offset: int) -> int:
    """Fill block-aligned memory from a block-aligned offset. Returns the crc32c of it."""
    checksum = 0
    n_whole = len(payload) // BLOCK_BYTES * BLOCK_BYTES
    for start in range(0, n_whole, STAGE_BYTES):
        piece = payload[start : min(start + STAGE_BYTES, n_whole)]
        got = read_all(descriptor, piece, offset + start)
        checksum = crc32c(piece[:got], checksum)
    last = aligned_empty(BLOCK_BYTES, np.uint8).data
    got = read_all(descriptor, last, offset + n_whole) if n_whole < len(payload) else 0
    rest = last[: min(got, len(payload) - n_whole)]
    payload[n_whole : n_whole + len(rest)] = rest
    return crc32c(rest, checksum)


def buckets_complete(path: Path, layout: StoreLayout, permutation: Permutation) -> bool:
    """Whether finished buckets of exactly this shuffle are at `path`."""
    geometry = Geometry(layout, permutation)
    header = json.dumps(geometry.header(), sort_keys=True).encode()
    if not (path / HEADER).exists() or (path / HEADER).read_bytes() != header:
        return False
    done = _read_progress(path, geometry)
    return done is not None and done.next_row == permutation.n_rows


def are_buckets(path: Path) -> bool:
    """Whether `path` holds dealt rows rather than a store."""
    return (path / HEADER).exists()


def remove_buckets(path: Path) -> None:
    """Remove buckets, whole or in part."""
    shutil.rmtree(path, ignore_errors=True)


def _read_progress(path: Path, geometry: Geometry) -> _Done | None:
    try:
        plain = json.loads((path / PROGRESS).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedStoreError(_damage(path, path / PROGRESS, f"unreadable: {error}")) from error
    shape = (geometry.permutation.n_buckets, len(geometry.region_row_bytes))
    checksums = np.array(plain["checksums"], np.uint32).reshape(shape)
    return _Done(plain["next_row"], np.array(plain["block_filled"], np.int64), checksums)


def _damage(path: Path, file: Path, what: str) -> str:
    return f"{file}: {what}: remove {path} and run the same command again to deal the rows anew"
