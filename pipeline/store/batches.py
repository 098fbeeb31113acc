"""Batches in stored order out of a ring of chunk buffers that threads fill ahead of the consumer.

The ring holds `n_slots` chunks in one array, so a batch is a view of it, also across chunks; only a
batch across the ring's end is copied.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline.store.layout import StoreLayout

Batch = dict[str, np.ndarray]

Part = Callable[[int], range]
"""Which rows of a batch of n rows are wanted, by their place in it; one run of them."""

WHOLE: Part = range


class Allocate(Protocol):
    """Makes a buffer: `np.empty`, or one that returns page-locked memory."""

    def __call__(self, shape: Any, dtype: Any, /) -> np.ndarray: ...


class ChunkSource(Protocol):
    """What batches need of a reader."""

    layout: StoreLayout
    n_threads: int
    pool: ThreadPoolExecutor

    def read_chunk(self, name: str, index: int, out: np.ndarray) -> None: ...


def stored_order(
    source: ChunkSource, wanted: "Wanted", names: Sequence[str], keep: int, allocate: Allocate
) -> Iterator[Batch]:
    """The wanted rows of the batches in stored order; see StoreReader.batches."""
    length = source.layout.rows_per_chunk
    batch_rows, start, stop = wanted.batch_rows, wanted.start, wanted.stop
    # Chunks that the batches still valid can touch, and as many ahead as threads can be reading.
    whole_chunks = batch_rows % length == 0 and start % length == 0
    held = -(-batch_rows * keep // length) + (not whole_chunks)
    ring = Ring(source, names, held + source.n_threads, start // length, -(-stop // length), wanted)
    ring.allocate(allocate, batch_rows, keep)
    try:
        for first in range(start, stop, batch_rows):
            oldest = max(start, first - (keep - 1) * batch_rows)
            ring.advance(oldest // length)
            yield ring.batch(*wanted.rows(first))
    finally:
        ring.drain()


@dataclass(frozen=True)
class Wanted:
    """The wanted rows of the batches of rows `[start, stop)`."""

    batch_rows: int
    start: int
    stop: int
    part: Part

    def rows(self, first: int) -> tuple[int, int]:
        """First wanted row, and the one after the last, of the batch that begins at `first`."""
        within = self.part(min(self.batch_rows, self.stop - first))
        return first + within.start, first + within.stop

    def any_in(self, low: int, high: int) -> bool:
        """Whether any of the rows `[low, high)` is wanted."""
        # Only batches that reach into [low, high) are asked; the first of them may begin earlier.
        before = max(low - self.start, 0) // self.batch_rows * self.batch_rows
        for first in range(self.start + before, min(high, self.stop), self.batch_rows):
            begin, end = self.rows(first)
            if max(begin, low) < min(end, high):
                return True
        return False


class Ring:
    """`n_slots` chunk buffers per array; chunk i lives in slot i % n_slots. Chunks without a
    wanted row are not read."""

    def __init__(
        self,
        source: ChunkSource,
        names: Sequence[str],
        n_slots: int,
        first: int,
        last: int,
        wanted: Wanted,
    ) -> None:
        self.source, self.names, self.wanted = source, names, wanted
        self.n_slots = min(n_slots, max(last - first, 1))
        self.next_index, self.last = first, last  # next chunk to ask for; end of the chunks
        self._loading: deque[tuple[int, list[Future[None]]]] = deque()

    def allocate(self, allocate: Allocate, batch_rows: int, keep: int) -> None:
        length = self.source.layout.rows_per_chunk
        specs = {name: self.source.layout[name] for name in self.names}
        self._ring = {
            name: allocate((self.n_slots * length, *spec.shape), spec.dtype)
            for name, spec in specs.items()
        }
        self._seams: deque[Batch] = deque(maxlen=keep)
        self._new_seam = lambda: {
            name: allocate((batch_rows, *spec.shape), spec.dtype) for name, spec in specs.items()
        }

    def advance(self, oldest: int) -> None:
        """Chunks before `oldest` are no longer needed: read others into their slots."""
        length = self.source.layout.rows_per_chunk
        while self.next_index < min(self.last, oldest + self.n_slots):
            index = self.next_index
            self.next_index += 1
            if self.wanted.any_in(index * length, (index + 1) * length):
                reads = [self.source.pool.submit(self._load, name, index) for name in self.names]
                self._loading.append((index, reads))

    def batch(self, start: int, stop: int) -> Batch:
        """Rows `[start, stop)`, which `advance` has asked for."""
        length = self.source.layout.rows_per_chunk
        while self._loading and self._loading[0][0] * length < stop:
            for read in self._loading.popleft()[1]:
                read.result()
        # Row r lies at place r % size of the ring. `end` is the place after the last row, so it is
        # above `begin` unless the rows go over the ring's end and on at its beginning.
        size = self.n_slots * length
        begin, end = start % size, (stop - 1) % size + 1
        if start == stop:
            return {name: ring[:0] for name, ring in self._ring.items()}
        if begin < end:
            return {name: ring[begin:end] for name, ring in self._ring.items()}
        seam = self._seams[0] if len(self._seams) == self._seams.maxlen else self._new_seam()
        self._seams.append(seam)
        for name, ring in self._ring.items():
            seam[name][: size - begin] = ring[begin:]
            seam[name][size - begin : stop - start] = ring[:end]
        return {name: array[: stop - start] for name, array in seam.items()}

    def drain(self) -> None:
        """Wait for the threads, so that none writes into buffers that are given up."""
        for _, reads in self._loading:
            for read in reads:
                read.cancel()
        for _, reads in self._loading:
            for read in reads:
                if not read.cancelled():
                    read.exception()
        self._loading.clear()

    def _load(self, name: str, index: int) -> None:
        length = self.source.layout.rows_per_chunk
        slot = index % self.n_slots * length
        self.source.read_chunk(name, index, self._ring[name][slot : slot + length])
