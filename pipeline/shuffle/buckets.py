"""Buckets on disk: rows dealt to the bucket of the shuffled store that each will end up in.

Dealing is half of the shuffle. Where each row goes is known from seed and row count alone, so
a producer that knows its row count can scatter while it produces, and the shuffle then reads and
writes every row once more instead of twice.

`buckets.json`    layout, seed, row count
`progress.json`   rows dealt so far, and the crc32c of every bucket so far; replaced atomically.
                  While several processes deal, each has one of its own, named by its rows
`c/NNNNN.bin`     runs of buckets. A bucket is one region per wide array and one for all narrow ones
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from crc32c import crc32c

from pipeline.bulk import resolve
from pipeline.errors import DamagedStoreError
from pipeline.shuffle.blocks import read_and_sum
from pipeline.shuffle.geometry import Geometry
from pipeline.shuffle.permutation import Permutation
from pipeline.store import StoreLayout, Verified
from pipeline.store.chunkfile import bytes_of, open_direct, read_all
from pipeline.store.seal import read_manifest

HEADER = "buckets.json"
PROGRESS = "progress.json"
PARTS = "progress.*-*.json"


@dataclass
class Done:
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


@dataclass
class BucketReader:
    """Finished buckets. load: a bucket's rows in order of arrival, checked.

    cached: read through the page cache, which holds what was written through it
    """

    path: Path
    geometry: Geometry
    checksums: np.ndarray
    cached: bool
    n_released: int = field(default=0)

    @classmethod
    def open(cls, path: Path, *, cached: bool = False) -> Self:
        """Open finished buckets. Raises DamagedStoreError where they are not finished."""
        path = resolve(path)
        try:
            header = json.loads((path / HEADER).read_bytes())
            permutation = Permutation(header["seed"], header["n_rows"])
            geometry = Geometry(StoreLayout.from_json(header["layout"]), permutation)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedStoreError(_damage(path, path / HEADER, f"unreadable: {error}")) from error
        done = read_progress(path, geometry)
        if done is None or done.next_row != permutation.n_rows:
            raise DamagedStoreError(_damage(path, path / PROGRESS, "the buckets are unfinished"))
        read_manifest(path, permutation.n_rows)
        return cls(path, geometry, done.checksums, cached)

    @property
    def permutation(self) -> Permutation:
        return self.geometry.permutation

    def load(self, bucket: int, regions: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Fill region arrays with a bucket and return its arrays, rows in order of arrival.

        Raises DamagedStoreError where the bucket is not as it was written.
        """
        n_rows = int(self.geometry.permutation.capacities[bucket])
        arrays = [array[:n_rows] for array in regions]
        with self._opened(bucket, direct=not self.cached) as descriptor:
            for region, array in enumerate(arrays):
                offset = self.geometry.offset(bucket, region, 0)
                self._check(bucket, region, read_and_sum(descriptor, bytes_of(array), offset))
        return {name: np.ascontiguousarray(array) for name, array in self.geometry.named(arrays)}

    def slabs(
        self, bucket: int, region: int, slab_rows: int, out: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first rank, rows) of a region, slab after slab, in `out` `[>= slab_rows, ...]`.

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
    def _opened(self, bucket: int, *, direct: bool) -> Iterator[int]:
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


def verify_buckets(path: Path) -> Verified:
    """Check header, progress, manifest and the sum of every bucket.

    Raises DamagedStoreError with the first file that is not as it was written.
    """
    reader = BucketReader.open(path)
    n_buckets = reader.permutation.n_buckets
    regions = reader.geometry.empty(int(reader.permutation.capacities[0]))
    for bucket in range(n_buckets):
        reader.load(bucket, regions)
    n_bytes = reader.permutation.n_rows * sum(reader.geometry.region_row_bytes)
    return Verified(reader.permutation.n_rows, n_buckets, n_bytes)


def buckets_complete(path: Path, layout: StoreLayout, permutation: Permutation) -> bool:
    """Whether finished buckets of this shuffle, and of no other, are at `path`."""
    geometry = Geometry(layout, permutation)
    header = json.dumps(geometry.header(), sort_keys=True).encode()
    if not (path / HEADER).exists() or (path / HEADER).read_bytes() != header:
        return False
    done = read_progress(path, geometry)
    return done is not None and done.next_row == permutation.n_rows


def are_buckets(path: Path) -> bool:
    """Whether `path` holds dealt rows rather than a store."""
    return (resolve(path) / HEADER).exists()


def remove_buckets(path: Path) -> None:
    """Remove buckets, whole or in part."""
    shutil.rmtree(path, ignore_errors=True)


def progress_of(rows: range) -> str:
    """Name of the progress of one of several processes, which deals these input rows. Another
    number of processes finds none of its own, and deals anew: the same bytes to the same places."""
    return f"progress.{rows.start}-{rows.stop}.json"


def read_progress(path: Path, geometry: Geometry, name: str = PROGRESS) -> Done | None:
    """What a progress file says; None where there is none."""
    try:
        plain = json.loads((path / name).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedStoreError(_damage(path, path / name, f"unreadable: {error}")) from error
    shape = (geometry.permutation.n_buckets, len(geometry.region_row_bytes))
    checksums = np.array(plain["checksums"], np.uint32).reshape(shape)
    return Done(plain["next_row"], np.array(plain["block_filled"], np.int64), checksums)


def _damage(path: Path, file: Path, what: str) -> str:
    return f"{file}: {what}: remove {path} and run the same command again to deal the rows anew"
