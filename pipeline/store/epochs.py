"""The order of later epochs: chunks in random order, rows in random order inside large windows.

A pure function of (rows, chunk length, window, seed, epoch): training resumes at any row of it, and
nothing is kept per row. One window is read while another is served.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.runtime import numpy_generator
from pipeline.store.batches import Allocate, Batch, ChunkSource, Wanted
from pipeline.store.chunkfile import aligned_empty

DEFAULT_WINDOW_ROWS = 65_536


@dataclass(frozen=True)
class EpochOrder:
    """Which stored row is the n-th of an epoch."""

    n_rows: int
    rows_per_chunk: int
    window_rows: int
    seed: int
    epoch: int

    @property
    def chunks_per_window(self) -> int:
        return max(1, self.window_rows // self.rows_per_chunk)

    @property
    def n_windows(self) -> int:
        return -(-len(self.chunks) // self.chunks_per_window)

    @cached_property
    def chunks(self) -> np.ndarray:
        """Chunk indices in the epoch's order."""
        n_chunks = -(-self.n_rows // self.rows_per_chunk)
        return self._generator("chunks").permutation(n_chunks)

    @cached_property
    def window_starts(self) -> np.ndarray:
        """Rows of the epoch before each window, and last the number of all rows."""
        lengths = np.minimum(self.rows_per_chunk, self.n_rows - self.chunks * self.rows_per_chunk)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return np.append(starts[: -1 : self.chunks_per_window], self.n_rows)

    def window_chunks(self, window: int) -> np.ndarray:
        return self.chunks[window * self.chunks_per_window :][: self.chunks_per_window]

    def window_order(self, window: int) -> np.ndarray:
        """Order of a window's rows: indices into its chunks laid end to end, padding left out."""
        chunks, length = self.window_chunks(window), self.rows_per_chunk
        lengths = np.minimum(length, self.n_rows - chunks * length)
        rows = np.concatenate([i * length + np.arange(n) for i, n in enumerate(lengths)])
        return self._generator("window", str(window)).permutation(rows)

    def _generator(self, *names: str) -> np.random.Generator:
        return numpy_generator(self.seed, "epoch", str(self.epoch), *names)


class Window:
    """The chunks of one window in memory, being read or being served."""

    def __init__(self, source: ChunkSource, names: Sequence[str], n_chunks: int) -> None:
        self.source, self.length = source, source.layout.rows_per_chunk
        specs = [source.layout[name] for name in names]
        self.arrays = {
            s.name: aligned_empty((n_chunks * self.length, *s.shape), s.dtype) for s in specs
        }
        self._reads: list[Future[None]] = []
        self.order = np.empty(0, np.int64)

    def load(self, order: EpochOrder, window: int) -> None:
        """Begin to read a window; `wait` ends it."""
        self.order = order.window_order(window)
        self._reads = [
            self.source.pool.submit(
                self.source.read_chunk,
                name,
                int(chunk),
                array[slot * self.length : (slot + 1) * self.length],
            )
            for slot, chunk in enumerate(order.window_chunks(window))
            for name, array in self.arrays.items()
        ]

    def wait(self) -> None:
        reads, self._reads = self._reads, []
        for read in reads:
            read.result()

    def drain(self) -> None:
        for read in self._reads:
            read.cancel()
        for read in self._reads:
            if not read.cancelled():
                read.exception()


def epoch_order_batches(
    source: ChunkSource,
    order: EpochOrder,
    wanted: Wanted,
    names: Sequence[str],
    keep: int,
    allocate: Allocate,
) -> Iterator[Batch]:
    """The wanted rows of the batches of an epoch; see StoreReader.batches."""
    specs = [source.layout[name] for name in names]
    buffers: deque[Batch] = deque(
        {s.name: allocate((wanted.batch_rows, *s.shape), s.dtype) for s in specs}
        for _ in range(keep)
    )
    windows = _windows(source, order, wanted.start, names)
    window, begin, end = next(windows) if wanted.start < wanted.stop else (None, 0, 0)
    for first in range(wanted.start, wanted.stop, wanted.batch_rows):
        low, high = wanted.rows(first)
        row = low
        # A batch is gathered from the one or more windows that its rows lie in.
        while row < high:
            while row >= end:
                window, begin, end = next(windows)
            assert window is not None
            stop = min(high, end)
            for name, target in buffers[0].items():
                part = target[row - low : stop - low]
                chosen = window.order[row - begin : stop - begin]
                np.take(window.arrays[name], chosen, axis=0, out=part, mode="clip")
            row = stop
        yield {name: array[: high - low] for name, array in buffers[0].items()}
        buffers.rotate(-1)


def _windows(
    source: ChunkSource, order: EpochOrder, start: int, names: Sequence[str]
) -> Iterator[tuple[Window, int, int]]:
    """Each window from that of the epoch's row `start` on, loaded, with the rows of the epoch
    that it holds: the first, and the one after the last."""
    first = int(np.searchsorted(order.window_starts, start, side="right")) - 1
    n_buffers = min(2, order.n_windows - first)
    windows = [Window(source, names, order.chunks_per_window) for _ in range(n_buffers)]
    try:
        windows[0].load(order, first)
        for number in range(first, order.n_windows):
            current = windows[(number - first) % n_buffers]
            current.wait()
            # The other buffer's window has been served: the next one is read into it meanwhile.
            if number + 1 < order.n_windows:
                windows[(number + 1 - first) % n_buffers].load(order, number + 1)
            begin, end = order.window_starts[number : number + 2].tolist()
            yield current, begin, end
    finally:
        for window in windows:
            window.drain()
