"""Writes a store chunk by chunk, from any number of threads, and goes on after a kill.

Rows are copied into a reused chunk buffer; a thread pads, codes, sums, writes, flushes and renames
each array's file and then records the chunk in the journal. `finish` seals the store.
"""

import queue
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np

from pipeline.distributed import ALONE, Ranks
from pipeline.store.chunkfile import (
    ChunkBuffer,
    clear_space_errors,
    sync_directory,
    write_coded_chunk,
    write_plain_chunk,
)
from pipeline.store.codecs import encode
from pipeline.store.journal import ChunkRecord, Journal
from pipeline.store.layout import StoreLayout
from pipeline.store.seal import is_sealed, read_seal, write_seal

TEMPORARY_DIR = ".tmp"

# For one process, which may append without end.
ANY_CHUNK = range(2**62)

Arrays = Mapping[str, np.ndarray]
Buffer = dict[str, ChunkBuffer]


@dataclass
class _Filling:
    """The chunk that `append` is filling."""

    index: int
    buffer: Buffer
    n_rows: int = 0


class StoreWriter(AbstractContextManager["StoreWriter"]):
    """Writes the arrays of a layout. Use as a context manager, or call `close`.

    Rows come in order. Several processes of one job append to runs of chunks of their own; the
    first seals the store. Errors of the writing threads come out of the next call. Raises
    NoSpaceError where the disk is full; finished chunks are kept and `open` on the same path goes
    on from there.
    """

    def __init__(
        self,
        path: Path,
        layout: StoreLayout,
        journal: Journal | None,
        n_rows: int,
        n_threads: int,
        ranks: Ranks = ALONE,
        own_chunks: range = ANY_CHUNK,
    ) -> None:
        self.path, self.layout = path, layout
        self.ranks, self.own_chunks = ranks, own_chunks
        self._journal = journal  # None: the store is sealed already
        self._n_rows = n_rows
        self._n_buffers_left = n_threads + 1
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(n_threads, "store-writer")
        self._pending: set[Future[None]] = set()
        self._failure: BaseException | None = None
        self._lock = Lock()
        self._filling: _Filling | None = None
        self._n_durable = own_chunks.start
        self._next_index = 0 if self.sealed else -(-self.durable_rows // layout.rows_per_chunk)

    @classmethod
    def open(
        cls,
        path: Path,
        layout: StoreLayout,
        *,
        n_threads: int = 2,
        ranks: Ranks = ALONE,
        n_rows: int = 0,
    ) -> Self:
        """Create a store at `path`, or take up what an earlier writer left there.

        ranks: the processes that write it together; they open it at the same time, and each
        appends to its own run of the chunks of a store of `n_rows` rows
        Raises BusyError where another process writes it, MismatchError where it was begun with
        another layout.
        """
        journals: list[Journal] = []  # the first rank's stays with it
        with clear_space_errors(path):
            n_sealed = ranks.from_first(lambda: cls._take_up(path, layout, journals))
            if n_sealed is not None:
                return cls(path, layout, None, n_sealed, n_threads, ranks)
            if not ranks.is_first:
                journals.append(Journal.open(path, layout, ranks.rank))
            own = ranks.part(layout.n_chunks(n_rows)) if ranks.size > 1 else ANY_CHUNK
        return cls(path, layout, journals[0], 0, n_threads, ranks, own)

    @staticmethod
    def _take_up(path: Path, layout: StoreLayout, journals: list[Journal]) -> int | None:
        """Lock and clean the store; its rows where it is sealed, else its journal goes to
        `journals`."""
        path.mkdir(parents=True, exist_ok=True)
        journal = Journal.open(path, layout)
        try:
            shutil.rmtree(path / TEMPORARY_DIR, ignore_errors=True)
            if is_sealed(path):
                n_rows = read_seal(path).n_rows
                journal.remove()
                return n_rows
            for folder in (TEMPORARY_DIR, *layout.names):
                (path / folder).mkdir(exist_ok=True)
        except BaseException:
            journal.close()
            raise
        journals.append(journal)
        return None

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def sealed(self) -> bool:
        """Whether the store is finished."""
        return self._journal is None

    @property
    def next_row(self) -> int:
        """Row that `append` continues with: all before it are on disk or handed over."""
        if self.sealed:
            return self._n_rows
        if self._filling is not None:
            return self._filling.index * self.layout.rows_per_chunk + self._filling.n_rows
        return self._rows_before(self._next_index)

    @property
    def stop_row(self) -> int:
        """Row before which `append` has to end in this process, if the store goes on so far."""
        return self.own_chunks.stop * self.layout.rows_per_chunk

    @property
    def durable_rows(self) -> int:
        """Rows that are on disk as whole chunks, counted up to the first of this process's own
        chunks that is not."""
        if self.sealed:
            return self._n_rows
        while self._n_durable in self.own_chunks and self.chunk_done(self._n_durable):
            self._n_durable += 1
        return self._rows_before(self._n_durable)

    def chunk_done(self, index: int) -> bool:
        """Whether chunk `index` is on disk."""
        if self._journal is None:
            return 0 <= index < self.layout.n_chunks(self._n_rows)
        return index in self._journal.records

    def append(self, arrays: Arrays) -> None:
        """Add rows `{name: [n, *shape]}` of every array at the end; any number n."""
        n_rows = self._check(arrays)

        def copy(name: str, target: np.ndarray, start: int) -> None:
            target[:] = arrays[name][start : start + len(target)]

        self._append(n_rows, copy)

    def append_rows(self, arrays: Arrays, rows: np.ndarray) -> None:
        """Add `arrays[name][rows]` at the end, gathered straight into the chunk buffers."""
        self._check(arrays)

        def gather(name: str, target: np.ndarray, start: int) -> None:
            chosen = rows[start : start + len(target)]
            np.take(arrays[name], chosen, axis=0, out=target, mode="clip")

        self._append(len(rows), gather)

    def flush(self) -> None:
        """Wait until every whole chunk handed over is on disk."""
        self._collect(list(self._pending))

    def finish(self) -> int:
        """Write the last, short chunk and seal the store, once every process has come here.
        Returns the number of rows."""
        if self._journal is None:
            return self._n_rows
        if self._filling is not None:
            filling, self._filling = self._filling, None
            self._submit(filling.index, filling.buffer, filling.n_rows)
        self.flush()
        self.ranks.meet()
        self._n_rows = self.ranks.from_first(self._seal)
        self._journal.close()
        self._journal = None
        return self._n_rows

    def _seal(self) -> int:
        assert self._journal is not None
        if self.ranks.size > 1:
            self._journal.read_all(self.layout)
        records = self._all_records()
        n_rows = self._rows_before(len(records))
        with clear_space_errors(self.path):
            for name in self.layout.names:
                if (self.path / name / "c").exists():
                    sync_directory(self.path / name / "c")
            write_seal(self.path, self.layout, n_rows, records)
            shutil.rmtree(self.path / TEMPORARY_DIR)
            self._journal.remove()
            sync_directory(self.path)
        return n_rows

    def close(self) -> None:
        """Stop the threads and give up the lock. Rows of an unfilled chunk are not on disk."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._journal is not None:
            self._journal.close()

    def _append(self, n_rows: int, fill: Callable[[str, np.ndarray, int], None]) -> None:
        assert not self.sealed or n_rows == 0, f"{self.path} is finished"
        done = 0
        while done < n_rows:
            filling = self._filling
            if filling is None:
                filling = self._filling = _Filling(self._next_index, self._acquire())
            n = min(n_rows - done, self.layout.rows_per_chunk - filling.n_rows)
            for name, target in filling.buffer.items():
                fill(name, target.rows[filling.n_rows : filling.n_rows + n], done)
            filling.n_rows += n
            done += n
            if filling.n_rows == self.layout.rows_per_chunk:
                self._filling = None
                self._next_index += 1
                self._submit(filling.index, filling.buffer, filling.n_rows)

    def _acquire(self) -> Buffer:
        """A free chunk buffer; waits for a thread to be done with one where all are in use."""
        # Buffers are made when one is first needed, so that a small store takes one and no more.
        if self._n_buffers_left and self._free.empty():
            self._n_buffers_left -= 1
            length = self.layout.rows_per_chunk
            return {
                spec.name: ChunkBuffer.empty((length, *spec.shape), spec.dtype)
                for spec in self.layout.arrays
            }
        buffer = self._free.get()
        self._collect([future for future in self._pending if future.done()])
        return buffer

    def _collect(self, writes: list[Future[None]]) -> None:
        """Wait for writes. Once one has failed, this raises its error every time."""
        for write in writes:
            self._pending.discard(write)
            self._failure = self._failure or write.exception()
        if self._failure is not None:
            raise self._failure

    def _submit(self, index: int, buffer: Buffer, n_rows: int) -> None:
        self._pending.add(self._pool.submit(self._write, index, buffer, n_rows))

    def _write(self, index: int, buffer: Buffer, n_rows: int) -> None:
        try:
            files = [
                self._write_array(name, index, chunk, n_rows) for name, chunk in buffer.items()
            ]
            assert self._journal is not None
            with self._lock:
                self._journal.add(ChunkRecord.of(index, n_rows, files))
        finally:
            self._free.put(buffer)

    def _write_array(
        self, name: str, index: int, chunk: ChunkBuffer, n_rows: int
    ) -> tuple[int, int]:
        chunk.rows[n_rows:] = self.layout[name].fill_value
        path = self.path / self.layout.chunk_path(name, index)
        temporary = self.path / TEMPORARY_DIR / f"{name}.{index}"
        if self.layout.codec == "none":
            return write_plain_chunk(path, temporary, chunk)
        return write_coded_chunk(path, temporary, encode(self.layout.codec, chunk.rows))

    def _check(self, arrays: Arrays) -> int:
        """Number of rows; the arrays must be those of the layout, of one length."""
        assert arrays.keys() == self.layout.by_name.keys(), (
            f"the store has arrays {self.layout.names}, got {tuple(arrays)}"
        )
        n_rows = len(next(iter(arrays.values())))
        for name, array in arrays.items():
            spec = self.layout[name]
            expected = ((n_rows, *spec.shape), np.dtype(spec.dtype))
            assert (array.shape, array.dtype) == expected, (
                f"{name} must be {expected}, got {(array.shape, array.dtype)}"
            )
        return n_rows

    def _rows_before(self, index: int) -> int:
        """Rows of chunks 0 to `index` - 1. Only a recorded last chunk can be short."""
        assert self._journal is not None
        last = self._journal.records.get(index - 1)
        missing = self.layout.rows_per_chunk - last.n_rows if last else 0
        return index * self.layout.rows_per_chunk - missing

    def _all_records(self) -> list[ChunkRecord]:
        """The records of chunks 0 to the last; all but the last are full."""
        assert self._journal is not None
        records = [record for _, record in sorted(self._journal.records.items())]
        for index, record in enumerate(records):
            assert record.index == index, f"chunk {index} of {self.path} was never written"
            full = record.n_rows == self.layout.rows_per_chunk
            assert full or index == len(records) - 1, f"chunk {index} of {self.path} is short"
        return records
