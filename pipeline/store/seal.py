"""What closes a store: the chunk table, the Zarr metadata, and the seal over both, written last.

`chunks.npy`  [array, chunk] of (bytes, crc32c): the digest of every chunk at its position
`seal.json`   rows, layout, sha256 of `chunks.npy` and of every `zarr.json`, and its own sha256
A directory without a seal is not a store.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DamagedStoreError, MissingArtifactError
from pipeline.signed import check_signed, signed
from pipeline.store.chunkfile import write_file
from pipeline.store.journal import FILE_DTYPE, JOURNAL, ChunkRecord
from pipeline.store.layout import StoreLayout, array_metadata, group_metadata

SEAL = "seal.json"
TABLE = "chunks.npy"
GROUP = "zarr.json"
MANIFEST = "manifest.json"
FORMAT_VERSION = 1
MAKE_AGAIN = "dvc repro --force --single-item"
"""Not `dvc checkout`: a damaged file may be a link to DVC's own copy, which then is damaged too."""


@dataclass(frozen=True)
class Seal:
    """The contents of a sealed store. table: `[n_arrays, n_chunks]` of (bytes, crc32c)."""

    layout: StoreLayout
    n_rows: int
    table: np.ndarray


def write_seal(path: Path, layout: StoreLayout, n_rows: int, records: list[ChunkRecord]) -> None:
    """Write metadata, chunk table and, last, the seal. records: of all chunks, in order."""
    table = np.frombuffer(b"".join(record.packed for record in records), FILE_DTYPE)
    table = np.ascontiguousarray(table.reshape(len(records), len(layout.arrays)).T)
    files = {
        **{f"{n}/{GROUP}": json_bytes(array_metadata(layout, n, n_rows)) for n in layout.names},
        GROUP: json_bytes(group_metadata(layout, n_rows)),
        TABLE: table_bytes(table),
    }
    for name, data in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        write_file(path / name, data)
    content = {
        "format_version": FORMAT_VERSION,
        "n_rows": n_rows,
        "layout": layout.to_json(),
        "files": {name: _describe(data) for name, data in files.items()},
    }
    write_file(path / SEAL, json_bytes(signed(content)))


def read_seal(path: Path) -> Seal:
    """Read and check the seal, the files that it covers, and a manifest where there is one.

    Raises MissingArtifactError where nothing is there, DamagedStoreError where the store is
    unfinished or where anything differs from what was sealed.
    """
    content = _read_seal_json(path)
    for name, record in content["files"].items():
        check_small_file(path, name, record)
    layout = StoreLayout.from_json(content["layout"])
    table = np.load(io.BytesIO((path / TABLE).read_bytes()), allow_pickle=False)
    n_rows = content["n_rows"]
    assert table.shape == (len(layout.arrays), layout.n_chunks(n_rows))
    return Seal(layout, n_rows, table)


def is_sealed(path: Path) -> bool:
    """Whether a finished store is at `path`; its contents are not checked."""
    return (path / SEAL).exists()


def read_manifest(path: Path, n_rows: int) -> Mapping[str, Any] | None:
    """The artifact manifest beside the seal, None where the store has none.

    Raises DamagedStoreError where it disagrees with the files or the row count.
    """
    file = path / MANIFEST
    if not file.exists():
        return None
    try:
        manifest = check_signed(json.loads(file.read_bytes()))
        files = dict(manifest["files"].items())
        stated = manifest["counts"].get("n_rows", n_rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedStoreError(damage(path, MANIFEST, f"cannot be read ({error})")) from error
    for name, record in files.items():
        check_small_file(path, name, record)
    if stated != n_rows:
        found = f"says n_rows = {stated}, the sealed store has {n_rows}"
        raise DamagedStoreError(damage(path, MANIFEST, found))
    return manifest


def check_small_file(path: Path, name: str, record: Mapping[str, Any]) -> None:
    """Raise DamagedStoreError unless a file has the bytes that were recorded for it."""
    try:
        found = _describe((path / name).read_bytes())
    except OSError:
        raise DamagedStoreError(damage(path, name, "is missing")) from None
    if found != dict(record):
        what = f"has sha256 {found['sha256']}, {record['sha256']} was recorded"
        raise DamagedStoreError(damage(path, name, what))


def damage(path: Path, name: str, what: str) -> str:
    """The message of a DamagedStoreError: which file, what is wrong, the remedy."""
    return (
        f"{path / name} {what}: the store {path} is damaged; "
        f"remove {path} and run `{MAKE_AGAIN}` and the name of the stage that writes it"
    )


def json_bytes(value: Any) -> bytes:
    """Canonical JSON text."""
    return (json.dumps(value, sort_keys=True, indent=2) + "\n").encode()


def table_bytes(table: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, table)
    return buffer.getvalue()


def _read_seal_json(path: Path) -> dict[str, Any]:
    try:
        data = (path / SEAL).read_bytes()
    except FileNotFoundError as error:
        if not path.exists():
            message = f"{path} not found: run `dvc repro` to make it"
            raise MissingArtifactError(message) from error
        if (path / JOURNAL).exists():
            raise DamagedStoreError(
                f"{path / SEAL} is missing: the store {path} is unfinished: run the stage that "
                "writes it again, which goes on where it was"
            ) from error
        raise DamagedStoreError(damage(path, SEAL, "is missing")) from error
    try:
        content = check_signed(json.loads(data))
        version = content["format_version"]
    except (ValueError, KeyError) as error:
        raise DamagedStoreError(damage(path, SEAL, f"cannot be read ({error})")) from error
    if version != FORMAT_VERSION:
        what = f"is of format version {version}, this program reads {FORMAT_VERSION}"
        raise DamagedStoreError(damage(path, SEAL, what))
    return content


def _describe(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
