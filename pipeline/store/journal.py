"""Which chunks of an unfinished store are on disk, one line per chunk, so that a kill loses none.

A line is appended after all files of the chunk are durable under their names. Each line carries
its own crc32c: what a kill or a full disk left torn at the end is cut off.
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from crc32c import crc32c

from pipeline.errors import BusyError, MismatchError
from pipeline.store.chunkfile import clear_space_errors
from pipeline.store.layout import StoreLayout

JOURNAL = "journal.jsonl"
JOURNALS = "journal*.jsonl"

FILE_DTYPE = np.dtype([("bytes", "<u8"), ("crc32c", "<u4")])


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """A chunk on disk. packed: its files' FILE_DTYPE records, in the layout's order of arrays.

    Packed, because a store of terabytes has a hundred thousand of these in memory at its end.
    """

    index: int
    n_rows: int
    packed: bytes

    @classmethod
    def of(cls, index: int, n_rows: int, files: list[tuple[int, int]]) -> "ChunkRecord":
        """files: (bytes, crc32c) per array."""
        return cls(index, n_rows, np.array(files, FILE_DTYPE).tobytes())

    @property
    def files(self) -> np.ndarray:
        """`[n_arrays]` of FILE_DTYPE."""
        return np.frombuffer(self.packed, FILE_DTYPE)


class Journal:
    """The journal of one unfinished store, held locked while it is open.

    Several processes of one job have one each, and know the chunks in all of them.
    """

    def __init__(self, path: Path, file: BinaryIO, records: dict[int, ChunkRecord]) -> None:
        self.path, self._file, self.records = path, file, records

    @classmethod
    def open(cls, store: Path, layout: StoreLayout, rank: int = 0) -> "Journal":
        """Open or begin the journal of a store, or that of the process `rank` of its writers.

        Raises BusyError where another process writes the store, MismatchError where the store was
        begun with another layout.
        """
        path = store / (f"journal-{rank}.jsonl" if rank else JOURNAL)
        with clear_space_errors(path):
            file = path.open("a+b", buffering=0)
            try:
                _lock(file, path)
                lines, valid_bytes = _read_lines(path)
                os.ftruncate(file.fileno(), valid_bytes)
                journal = cls(path, file, {})
                if not lines:
                    journal._append(layout.to_json())
                journal.read_all(layout)
            except BaseException:
                file.close()
                raise
        return journal

    def read_all(self, layout: StoreLayout) -> None:
        """Take over the chunks in every journal of the store."""
        store = self.path.parent
        for path in sorted(store.glob(JOURNALS)):
            lines, _ = _read_lines(path)
            if lines and lines[0] != layout.to_json():
                raise MismatchError(_mismatch(path, lines[0], layout))
            self.records |= _records(lines[1:], store, layout)

    def add(self, record: ChunkRecord) -> None:
        """Record a chunk whose files are all durable."""
        with clear_space_errors(self.path):
            self._append([record.index, record.n_rows, record.packed.hex()])
        self.records[record.index] = record

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """The store is finished: its chunk table says all that the journals said."""
        for path in self.path.parent.glob(JOURNALS):
            path.unlink()
        self.close()

    def _append(self, value: Any) -> None:
        text = json.dumps(value, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (crc32c(text), text)
        start = os.fstat(self._file.fileno()).st_size
        written = os.write(self._file.fileno(), line)
        if written < len(line):  # a disk that fills up takes part of a line: now it tells
            os.ftruncate(self._file.fileno(), start)
            os.write(self._file.fileno(), line)


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            f"{path} is held by another process, which is writing the same store: "
            "wait for it to end, or stop it, and run again"
        ) from error


def _read_lines(path: Path) -> tuple[list[Any], int]:
    """The values of all whole lines, and the bytes they take."""
    values: list[Any] = []
    valid_bytes = 0
    for line in path.read_bytes().splitlines(keepends=True):
        digest, _, text = line[:-1].partition(b" ")
        if not line.endswith(b"\n") or digest != b"%08x" % crc32c(text):
            break
        values.append(json.loads(text))
        valid_bytes += len(line)
    return values, valid_bytes


def _records(lines: list[Any], store: Path, layout: StoreLayout) -> dict[int, ChunkRecord]:
    """Records whose files still have their recorded sizes."""
    records: dict[int, ChunkRecord] = {}
    for index, n_rows, packed in lines:
        record = ChunkRecord(index, n_rows, bytes.fromhex(packed))
        if _files_are_there(record, store, layout):
            records[index] = record
        else:
            records.pop(index, None)
    return records


def _files_are_there(record: ChunkRecord, store: Path, layout: StoreLayout) -> bool:
    for name, size in zip(layout.names, record.files["bytes"].tolist(), strict=True):
        try:
            if os.stat(store / layout.chunk_path(name, record.index)).st_size != size:  # noqa: PTH116
                return False
        except FileNotFoundError:
            return False
    return True


def _mismatch(path: Path, found: Any, layout: StoreLayout) -> str:
    wanted = layout.to_json()
    key = next((k for k in wanted if k not in found or found[k] != wanted[k]), "layout")
    return (
        f"{path.parent} was begun with {key} = {found.get(key)!r}, now {wanted[key]!r} is asked "
        f"for: remove {path.parent} and start again, or go back to the old value"
    )
