"""Reads a sealed store: checked at opening, every chunk's crc32c checked before its rows go out.

A chunk that is missing, short, long, altered or out of place is a DamagedStoreError; no fill value
takes its place. Chunks are read by threads that hold no interpreter lock while they read and sum.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np
from crc32c import crc32c

from pipeline.bulk import resolve
from pipeline.errors import ArtifactError, DamagedStoreError
from pipeline.store.batches import WHOLE, Allocate, Part, Wanted, stored_order
from pipeline.store.chunkfile import (
    BLOCK_BYTES,
    CHECKSUM_BYTES,
    MIN_DIRECT_BYTES,
    aligned_empty,
    bytes_of,
    open_direct,
    read_all,
)
from pipeline.store.codecs import decode_into
from pipeline.store.epochs import DEFAULT_WINDOW_ROWS, EpochOrder, epoch_order_batches
from pipeline.store.layout import StoreLayout
from pipeline.store.seal import damage, read_manifest, read_seal

PIECE_BYTES = 2**20
DIRECT_PIECE_BYTES = 2**23


class StoreReader(AbstractContextManager["StoreReader"]):
    """A sealed store, open for reading. Use as a context manager, or call `close`.

    layout, n_rows: of the store; manifest: its artifact manifest as plain data, None without one
    """

    def __init__(
        self,
        path: Path,
        layout: StoreLayout,
        n_rows: int,
        table: np.ndarray,
        manifest: Mapping[str, Any] | None,
        n_threads: int,
        direct: bool | None,
    ) -> None:
        self.path, self.layout, self.n_rows, self.manifest = path, layout, n_rows, manifest
        self.n_threads = n_threads
        self._table = {name: table[i] for i, name in enumerate(layout.names)}
        self._direct = _larger_than_cache(table) if direct is None else direct
        self.pool = ThreadPoolExecutor(n_threads, "store-reader")

    @classmethod
    def open(cls, path: Path | str, *, n_threads: int = 2, direct: bool | None = None) -> Self:
        """Open a store. Checks seal, metadata, manifest, and that every chunk has its size.

        direct: read large chunks past the page cache; None: where the store is larger than half
        of this machine's memory, so that it could not be cached for a second epoch anyway
        Raises MissingArtifactError or DamagedStoreError.
        """
        path = resolve(Path(path))
        seal = read_seal(path)
        manifest = read_manifest(path, seal.n_rows)
        reader = cls(path, seal.layout, seal.n_rows, seal.table, manifest, n_threads, direct)
        reader._check_sizes()
        return reader

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    @property
    def n_chunks(self) -> int:
        return self.layout.n_chunks(self.n_rows)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `[start, stop)` of one array, as a new array `[stop - start, *shape]`."""
        stop = self.n_rows if stop is None else stop
        assert 0 <= start <= stop <= self.n_rows
        spec, length = self.layout[name], self.layout.rows_per_chunk
        result = aligned_empty((stop - start, *spec.shape), spec.dtype)

        def load(index: int) -> None:
            first, last = max(start, index * length), min(stop, (index + 1) * length)
            target = result[first - start : last - start]
            if last - first == length:
                self.read_chunk(name, index, target)
            else:
                chunk = np.empty((length, *spec.shape), spec.dtype)
                self.read_chunk(name, index, chunk)
                target[:] = chunk[first - index * length : last - index * length]

        list(self.pool.map(load, range(start // length, -(-stop // length))))
        return result

    def rows(
        self, start: int, stop: int, names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Rows `[start, stop)` of several arrays; of all where `names` is None."""
        return {name: self.read(name, start, stop) for name in names or self.layout.names}

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Single rows of one array, in the order asked for; reads each chunk once."""
        spec, length = self.layout[name], self.layout.rows_per_chunk
        assert len(rows) == 0 or (rows.min() >= 0 and rows.max() < self.n_rows)
        result = np.empty((len(rows), *spec.shape), spec.dtype)
        order = np.argsort(rows // length, kind="stable")
        indices, starts = np.unique((rows // length)[order], return_index=True)
        chunk = np.empty((length, *spec.shape), spec.dtype)
        for index, where in zip(indices, np.split(order, starts[1:]), strict=False):
            self.read_chunk(name, int(index), chunk)
            result[where] = chunk[rows[where] - index * length]
        return result

    def batches(
        self,
        batch_rows: int,
        start_row: int = 0,
        stop_row: int | None = None,
        names: Sequence[str] = ("activations",),
        *,
        epoch: int = 0,
        seed: int = 0,
        window_rows: int = DEFAULT_WINDOW_ROWS,
        keep: int = 1,
        allocate: Allocate = aligned_empty,
        part: Part = WHOLE,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Batches of the rows `[start_row, stop_row)` of an epoch, the last one as short as it
        comes. Threads read ahead.

        epoch: epoch 0 is the stored order. Every later one holds every row once: `seed` and the
        epoch's number decide the order of the chunks, and the order of the rows inside each run
        of about `window_rows` rows, of which two are in memory.
        keep: a batch stays valid until `keep` further ones were asked for; then its buffer is
        used again. allocate: makes the buffers (page-locked memory, say), called as `np.empty` is;
        memory that does not begin at a block boundary is read into through the page cache.
        part: which rows of a batch of n rows to hand out; in epoch 0 chunks that hold none of them
        are not read.
        """
        stop = self.n_rows if stop_row is None else stop_row
        assert 0 <= start_row <= stop <= self.n_rows
        assert batch_rows > 0
        assert keep > 0
        wanted = Wanted(batch_rows, start_row, stop, part)
        if epoch == 0:
            return stored_order(self, wanted, tuple(names), keep, allocate)
        order = EpochOrder(self.n_rows, self.layout.rows_per_chunk, window_rows, seed, epoch)
        return epoch_order_batches(self, order, wanted, tuple(names), keep, allocate)

    def read_chunk(self, name: str, index: int, out: np.ndarray) -> None:
        """Fill `out` `[rows_per_chunk, *shape]`, C-contiguous, with one whole, checked chunk.

        The last chunk of a store is padded. Raises DamagedStoreError.
        """
        payload = bytes_of(out)
        codec = self.layout.codec
        if codec == "none":
            self._read_checked(name, index, payload)
            return
        coded = bytearray(int(self._table[name][index]["bytes"]) - CHECKSUM_BYTES)
        self._read_checked(name, index, memoryview(coded))
        try:
            decode_into(codec, coded, out)
        except (ValueError, RuntimeError) as error:
            raise self._damaged(name, index, f"cannot be decoded ({error})") from error

    def check_chunk(self, name: str, index: int, buffer: bytearray) -> int:
        """Check a chunk's size and sums without decoding it; `buffer` is grown and reused.

        Returns the bytes read. Raises DamagedStoreError.
        """
        n_bytes = int(self._table[name][index]["bytes"])
        if len(buffer) < n_bytes:
            buffer.extend(bytes(n_bytes - len(buffer)))
        self._read_checked(name, index, memoryview(buffer)[: n_bytes - CHECKSUM_BYTES])
        return n_bytes

    def chunk_file(self, name: str, index: int) -> Path:
        return self.path / self.layout.chunk_path(name, index)

    def _read_checked(self, name: str, index: int, payload: memoryview) -> None:
        """Read a chunk file's payload into `payload` and hold size and both sums against it."""
        expected = self._table[name][index]
        direct = self._direct and _is_blocks(payload)
        try:
            file = self.chunk_file(name, index)
            if direct:
                descriptor, direct = open_direct(file, os.O_RDONLY)
            else:
                descriptor = os.open(file, os.O_RDONLY)
        except PermissionError as error:
            raise self._forbidden(name, index) from error
        except OSError as error:
            raise self._damaged(name, index, f"cannot be opened ({error.strerror})") from error
        try:
            size = os.fstat(descriptor).st_size
            if size != expected["bytes"] or size != len(payload) + CHECKSUM_BYTES:
                raise self._wrong_size(name, index, size)
            n_read, found, stored = _read_and_sum(descriptor, payload, direct)
        except OSError as error:
            raise self._damaged(name, index, f"cannot be read ({error})") from error
        finally:
            os.close(descriptor)
        if n_read != size:
            raise self._wrong_size(name, index, n_read)
        if found != expected["crc32c"] or stored != found:
            what = f"has crc32c {found:08x} and ends in {stored:08x}, "
            raise self._damaged(name, index, what + f"{int(expected['crc32c']):08x} was recorded")

    def _check_sizes(self) -> None:
        for name in self.layout.names:
            sizes = self._table[name]["bytes"].tolist()
            for index, expected in enumerate(sizes):
                try:
                    found = os.stat(self.chunk_file(name, index)).st_size  # noqa: PTH116
                except PermissionError as error:
                    raise self._forbidden(name, index) from error
                except OSError as error:
                    what = f"cannot be found ({error.strerror})"
                    raise self._damaged(name, index, what) from error
                if found != expected:
                    raise self._wrong_size(name, index, found)

    def _wrong_size(self, name: str, index: int, found: int) -> DamagedStoreError:
        expected = int(self._table[name][index]["bytes"])
        return self._damaged(name, index, f"has {found:,} bytes, {expected:,} were recorded")

    def _forbidden(self, name: str, index: int) -> ArtifactError:
        return ArtifactError(
            f"{self.chunk_file(name, index)} (chunk {index} of {name}) may not be read by this "
            f"user: give it the right to read all of {self.path}"
        )

    def _damaged(self, name: str, index: int, what: str) -> DamagedStoreError:
        file = self.layout.chunk_path(name, index)
        return DamagedStoreError(damage(self.path, file, f"(chunk {index} of {name}) {what}"))


def _read_and_sum(descriptor: int, payload: memoryview, direct: bool) -> tuple[int, int, int]:
    """Fill `payload` from a chunk file. Returns bytes read, crc32c found, crc32c at the end.

    Piece by piece, so that a piece is summed while it is still in the processor's cache.
    """
    n_read = checksum = 0
    step = DIRECT_PIECE_BYTES if direct else PIECE_BYTES
    for start in range(0, len(payload), step):
        piece = payload[start : start + step]
        got = read_all(descriptor, piece, start)
        checksum = crc32c(piece[:got], checksum)
        n_read += got
    tail = aligned_empty(BLOCK_BYTES, np.uint8).data if direct else memoryview(bytearray(4))
    n_read += read_all(descriptor, tail, len(payload))
    return n_read, checksum, int.from_bytes(tail[:CHECKSUM_BYTES], "little")


def _is_blocks(payload: memoryview) -> bool:
    """Whether memory begins at a block boundary, is large, and is whole blocks long."""
    address = np.frombuffer(payload, np.uint8).ctypes.data if len(payload) else 1
    aligned = address % BLOCK_BYTES == 0 and len(payload) % BLOCK_BYTES == 0
    return aligned and len(payload) >= MIN_DIRECT_BYTES


def _larger_than_cache(table: np.ndarray) -> bool:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return bool(table["bytes"].sum() > memory // 2)
