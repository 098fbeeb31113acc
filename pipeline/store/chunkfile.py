"""One chunk in one file: coded payload, then its crc32c in 4 little-endian bytes.

These are the bytes that Zarr v3's own `crc32c` codec writes, so any Zarr library reads them.
A file appears under its name whole or not at all: temporary name, flush, rename.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c

from pipeline.errors import NoSpaceError

CHECKSUM_BYTES = 4
# Linux moves at most this much in one call.
MAX_IO_BYTES = 0x7FFFF000
NO_SPACE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def clear_space_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, quota or file size limit into NoSpaceError with the path and remedy."""
    try:
        yield
    except OSError as error:
        if isinstance(error, NoSpaceError) or error.errno not in NO_SPACE_ERRNOS:
            raise
        folder = next((p for p in path.absolute().parents if p.exists()), Path("/"))
        raise NoSpaceError(
            f"no space left to write {path} ({os.strerror(error.errno or 0)}, "
            f"{shutil.disk_usage(folder).free:,} bytes free): free some space and run the same "
            "command again; the finished chunks are kept"
        ) from error


def write_chunk_file(path: Path, temporary: Path, coded: Any) -> tuple[int, int]:
    """Write one chunk file atomically. Returns its size in bytes and its crc32c.

    Raises NoSpaceError, with the temporary file removed.
    """
    payload = memoryview(coded).cast("B")
    checksum = crc32c(payload)
    with clear_space_errors(path):
        try:
            _write_durably(temporary, payload, checksum.to_bytes(CHECKSUM_BYTES, "little"))
            _rename(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    return len(payload) + CHECKSUM_BYTES, checksum


def write_file(path: Path, data: bytes) -> None:
    """Write a small file atomically and durably."""
    temporary = path.with_name(f".{path.name}.tmp")
    with clear_space_errors(path):
        _write_durably(temporary, memoryview(data), b"")
        temporary.replace(path)


def bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of a C-contiguous array, not copied."""
    assert array.flags.c_contiguous
    return array.reshape(-1).view(np.uint8).data


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, however many calls it takes."""
    while len(data):
        written = os.pwrite(descriptor, data[:MAX_IO_BYTES], offset)
        data, offset = data[written:], offset + written


def read_all(descriptor: int, target: memoryview, offset: int) -> int:
    """Fill `target` from `offset`; the bytes read are fewer only at the end of the file."""
    done = 0
    while done < len(target):
        got = os.preadv(descriptor, [target[done : done + MAX_IO_BYTES]], offset + done)
        if got == 0:
            break
        done += got
    return done


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_durably(path: Path, payload: memoryview, tail: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_all(descriptor, payload, 0)
        write_all(descriptor, memoryview(tail), len(payload))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
