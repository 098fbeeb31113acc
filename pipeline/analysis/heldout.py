"""Rows of a store, an even sample of them, in batches; and the units behind intervals.

Letters: B rows, M models (base, IT), D d_model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.groups import cells_of
from pipeline.distributed import ALONE, Ranks
from pipeline.progress import Progress
from pipeline.store import StoreReader

MAX_UNITS = 256

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def spread_blocks(n_total: int, n_rows: int, block_rows: int) -> list[tuple[int, int]]:
    """Row ranges of at most `block_rows`, spread evenly over [0, n_total), `n_rows` in all.

    Every row where n_rows >= n_total. Ranges are disjoint and in order.
    """
    if n_rows >= n_total:
        return [(at, min(at + block_rows, n_total)) for at in range(0, n_total, block_rows)]
    # Neighbouring rows are alike, so a few rows in many places tell more than many in one. Skipped
    # rows are dealt evenly between blocks of nearly equal size, so that none can overlap.
    n_blocks = -(-n_rows // block_rows)
    sizes = [n_rows // n_blocks + (i < n_rows % n_blocks) for i in range(n_blocks)]
    taken = accumulate(sizes, initial=0)
    skipped = (i * (n_total - n_rows) // n_blocks for i in range(n_blocks))
    starts = [before + gap for gap, before in zip(skipped, taken, strict=False)]
    return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def as_float(activations: NDArray[np.generic], device: torch.device) -> Tensor:
    """bfloat16 bits (uint16) or float rows as a float32 tensor on `device`."""
    rows = torch.from_numpy(np.ascontiguousarray(activations))
    if rows.dtype == torch.uint16:
        rows = rows.view(torch.bfloat16)
    return rows.to(device).float()


def spread_rows(reader: StoreReader, n_rows: int, block_rows: int, device: torch.device) -> Tensor:
    """[n_rows, M, D] rows spread over the store in blocks, all of them in memory."""
    blocks = spread_blocks(reader.n_rows, n_rows, block_rows)
    return torch.cat([as_float(reader.read("activations", *block), device) for block in blocks])


@dataclass(frozen=True)
class Rows:
    """Some rows of a store. place: where they lie in it; x: activations [B, M, D] in float32, raw
    units, on the device of the pass; columns: name -> [B] of the columns asked for."""

    place: slice
    x: Tensor
    columns: Mapping[str, NDArray[Any]]

    @property
    def cells(self) -> Ints:
        """[B] group of each row; `source` and `token_class` must be among the columns."""
        return cells_of(self.columns["source"], self.columns["token_class"])


def rows_of_blocks(
    reader: StoreReader,
    blocks: Sequence[tuple[int, int]],
    device: torch.device,
    *,
    name: str,
    columns: Sequence[str] = (),
    ranks: Ranks = ALONE,
) -> Iterator[Rows]:
    """The rows of one block after the other; several processes take turns. name: of the progress
    line and log."""
    blocks = blocks[ranks.rank :: ranks.size]
    total = sum(stop - start for start, stop in blocks)
    with Progress(name, total=total, unit="rows") as progress:
        for start, stop in blocks:
            read = reader.rows(start, stop, ("activations", *columns))
            x = as_float(read.pop("activations"), device)
            yield Rows(slice(start, stop), x, read)
            progress.advance(stop - start)


@dataclass(frozen=True)
class Window:
    """The rows that passes go over: at most `n_rows`, spread evenly over a store, `batch_rows` at a
    time. ranks: the processes that take batches in turns, the first the first: what is summed up
    over them must be reduced (`Ranks.sum`)"""

    reader: StoreReader
    n_rows: int
    batch_rows: int
    ranks: Ranks = ALONE

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """The batches of all processes as row ranges, in order."""
        return spread_blocks(self.reader.n_rows, self.n_rows, self.batch_rows)

    def batches(self, device: torch.device, name: str, *columns: str) -> Iterator[Rows]:
        """This process's batches, once. name: of the progress line and log"""
        return rows_of_blocks(
            self.reader, self.blocks, device, name=name, columns=columns, ranks=self.ranks
        )


class Units:
    """Numbers the sequences in the order met, so that intervals resample whole ones: neighbouring
    tokens are alike, and counted singly they would make every interval too narrow. At most
    MAX_UNITS units, each of as many sequences."""

    def __init__(self, n_sequences: int) -> None:
        self._width = -(-n_sequences // MAX_UNITS)
        self._first: dict[int, int] = {}

    @property
    def n(self) -> int:
        """Units met so far."""
        return min(-(-len(self._first) // self._width), MAX_UNITS)

    def of(self, sequence_B: NDArray[np.generic]) -> Ints:
        values, inverse = np.unique(sequence_B, return_inverse=True)
        numbers = [self._first.setdefault(int(v), len(self._first)) for v in values]
        return np.minimum(np.array(numbers)[inverse] // self._width, MAX_UNITS - 1)
