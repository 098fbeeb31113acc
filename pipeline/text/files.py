"""Rows of local files: .json, .jsonl, .ndjson (plain or compressed) and .parquet, read lazily."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from pipeline.errors import SourceError
from pipeline.paths import is_pointer, matching, pointer_remedy

LINES, JSON, PARQUET = (".jsonl", ".ndjson"), (".json",), (".parquet",)
READ_CHARACTERS = 2**16
MAX_VALUE_CHARACTERS = 2**28
PARQUET_BATCH_ROWS = 64
END_BYTES = 2**20
ARRAY = "rename the file to .json if it holds one array of rows"


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row, not parsed yet. parse() gives its object; where names the file and the place."""

    where: str
    parse: Callable[[], Any]


def expand(patterns: tuple[str, ...], key: str) -> list[Path]:
    """The files of the patterns, sorted, each once.

    Raises SourceError for a pattern without a file, and for a file of an unknown or empty kind.
    """
    files: set[Path] = set()
    for pattern in patterns:
        found = [path for path in matching(pattern) if path.is_file()]
        if not found:
            folder = next((path for path in matching(pattern) if path.is_dir()), None)
            if folder is None:
                raise SourceError(f"{key}: no file at {pattern!r}: correct the path or the glob")
            raise SourceError(
                f"{key}: {pattern!r} is a folder, expected files: name those in it, such as "
                f"{folder}/*.jsonl"
            )
        files.update(found)
    for path in files:
        _kind(path)
        if path.stat().st_size == 0:
            raise SourceError(f"{key}: {path} is empty (0 bytes): remove it or name another file")
        if is_pointer(path):
            raise SourceError(f"{key}: {pointer_remedy(path)}")
    return sorted(files)


def read_rows(path: Path, field: str) -> Iterator[FileRow]:
    """Rows of one file; of a parquet file only the column `field` is read.

    Parsing a row, or reading on, raises SourceError with the file and the line or row.
    """
    kind = _kind(path)
    if kind in PARQUET:
        return _parquet_rows(path, field)
    return _readable(path, _line_rows(path) if kind in LINES else _value_rows(path))


def describe(path: Path) -> dict[str, Any]:
    """Size of a file and a digest of its two ends, which tells most changes at no cost."""
    size = path.stat().st_size
    with path.open("rb") as file:
        ends = hashlib.sha256(file.read(END_BYTES))
        file.seek(max(0, size - END_BYTES))
        ends.update(file.read())
    return {"bytes": size, "sha256_of_ends": ends.hexdigest()}


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in OPENERS:
        suffixes.pop()
        if suffixes and suffixes[-1] in LINES + JSON:
            return suffixes[-1]
    elif suffixes and suffixes[-1] in LINES + JSON + PARQUET:
        return suffixes[-1]
    raise SourceError(
        f"{path} is of unknown kind, expected .json, .jsonl, .ndjson (also with "
        f"{', '.join(OPENERS)}) or .parquet: convert or rename it"
    )


def _open_zst(path: Path) -> IO[bytes]:
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))  # pyright: ignore[reportArgumentType]


OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zst,
}


def _open(path: Path) -> IO[bytes]:
    opener = OPENERS.get(path.suffix.lower())
    return opener(path) if opener else path.open("rb")


def _readable(path: Path, rows: Iterator[FileRow]) -> Iterator[FileRow]:
    """The rows, with a file that cannot be read to its end as a SourceError."""
    place = "before its first row"
    try:
        for row in rows:
            place = f"after {row.where}"
            yield row
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} cannot be read {place} ({error}): it is cut off or not what its name says; "
            "get it again or rename it"
        ) from error


def _line_rows(path: Path) -> Iterator[FileRow]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"{path}, line {number}"
                yield FileRow(where, partial(_parse_line, line, where))


def _parse_line(line: bytes, where: str) -> Any:
    shown = line[:60].decode(errors="replace").strip()
    try:
        return json.loads(line)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{where} is not UTF-8 ({error}), it begins {shown!r}: save the file as UTF-8; a "
            f"compressed one needs the ending of its kind ({', '.join(OPENERS)})"
        ) from error
    except (ValueError, RecursionError) as error:
        remedy = ARRAY if line.lstrip().startswith(b"[") else "mend or remove the line"
        raise SourceError(
            f"{where} is not JSON ({error}), it begins {shown!r}: {remedy}"
        ) from error


def _value_rows(path: Path) -> Iterator[FileRow]:
    """Values of a .json file: one array, or objects one after another, read piece by piece."""
    decode = json.JSONDecoder().raw_decode
    number = 0
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig") as file:
        buffer, line, at_end = file.read(READ_CHARACTERS), 1, False
        while True:
            rest = buffer.lstrip(" \t\r\n,[" if number == 0 else " \t\r\n,]")
            line += buffer.count("\n", 0, len(buffer) - len(rest))
            buffer = rest
            value, length, problem = None, 0, None
            if buffer:
                try:
                    value, length = decode(buffer)
                except ValueError as error:
                    problem = error
                except RecursionError as error:  # more of the file cannot mend it
                    problem, at_end = error, True
            # A number or a value at the buffer's end may go on in the next piece.
            if (problem or length == len(buffer)) and not at_end:
                piece = file.read(max(READ_CHARACTERS, len(buffer)))
                at_end = not piece
                buffer += piece
                if len(buffer) <= MAX_VALUE_CHARACTERS:
                    continue
            if problem:
                raise SourceError(
                    f"{path}, value {number + 1} at line {line} is not JSON ({problem}), it begins "
                    f"{buffer[:60]!r}: mend or remove it"
                ) from problem
            if not buffer:
                return
            number += 1
            yield FileRow(f"{path}, value {number} at line {line}", lambda value=value: value)
            line += buffer.count("\n", 0, length)
            buffer = buffer[length:]


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(
            f"{path} is not a readable parquet file ({error}): get it again or rename it"
        ) from error


def _parquet_rows(path: Path, field: str) -> Iterator[FileRow]:
    import pyarrow as pa

    file = _open_parquet(path)
    names = file.schema_arrow.names
    if field not in names:
        raise SourceError(
            f"{path} has no field {field!r}, its fields are {', '.join(names)}: name the right one"
        )
    number = 0
    try:
        for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=[field]):
            for value in batch.column(0):
                number += 1
                where = f"{path}, row {number}"
                yield FileRow(where, partial(_parquet_value, field, value, where))
    except (OSError, pa.ArrowException) as error:  # what pyarrow raises for a damaged page
        raise SourceError(
            f"{path} cannot be read after row {number} ({error}): get it again"
        ) from error


def _parquet_value(field: str, value: Any, where: str) -> dict[str, Any]:
    try:
        return {field: value.as_py()}
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
        raise SourceError(
            f"{where}: field {field!r} cannot be read ({error}): mend or remove the row"
        ) from error
