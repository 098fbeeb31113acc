"""Where every row stands in the files of the buckets."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.shuffle.permutation import Permutation
from pipeline.store import StoreLayout
from pipeline.store.chunkfile import aligned_empty, whole_blocks
from pipeline.store.layout import ArraySpec

# Arrays with shorter rows are packed into one record, so that a piece is one write for all of them.
WIDE_ROW_BYTES = 512
MAX_FILES = 256


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

    @property
    def rows_per_file(self) -> int:
        """Rows of a whole file."""
        return self.buckets_per_file * self.permutation.bucket_rows

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
