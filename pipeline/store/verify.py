"""Read a whole store and check every byte of it."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import local

from pipeline.errors import DamagedStoreError
from pipeline.store.reader import StoreReader
from pipeline.store.seal import GROUP, MANIFEST, SEAL, TABLE, read_manifest

# Jobs handed to the threads at a time: all of a large store's would fill the memory.
CHUNKS_AT_ONCE = 256
N_THREADS = 2


@dataclass(frozen=True)
class Verified:
    """What was checked. n_bytes: of all chunk files."""

    n_rows: int
    n_chunks: int
    n_bytes: int


def verify_store(path: Path) -> Verified:
    """Check seal, metadata, manifest and every chunk of every array.

    Raises DamagedStoreError naming the first damaged chunk, or, where there is none, a file that
    does not belong to the store, such as what a file manager leaves in the folders it shows.
    """
    total = 0
    with StoreReader.open(path, n_threads=N_THREADS) as reader:
        scratch = local()

        def check(name: str, index: int) -> int:
            if not hasattr(scratch, "buffer"):
                scratch.buffer = bytearray()
            return reader.check_chunk(name, index, scratch.buffer)

        for name in reader.layout.names:
            for start in range(0, reader.n_chunks, CHUNKS_AT_ONCE):
                indices = range(start, min(start + CHUNKS_AT_ONCE, reader.n_chunks))
                total += sum(reader.pool.map(partial(check, name), indices))
        check_no_strangers(reader)
        return Verified(reader.n_rows, reader.n_chunks * len(reader.layout.names), total)


def check_no_strangers(reader: StoreReader) -> None:
    """Raise DamagedStoreError where the store holds a file that no writer of it has written."""
    known = {MANIFEST, SEAL, TABLE, GROUP, *(f"{name}/{GROUP}" for name in reader.layout.names)}
    # What the manifest lists with its digest, such as a mix's streams.json, is the stage's own.
    known |= set((read_manifest(reader.path, reader.n_rows) or {}).get("files", {}))
    for folder, _, files in os.walk(reader.path):
        for file in files:
            relative = Path(folder, file).relative_to(reader.path)
            if str(relative) not in known and not _is_chunk(reader, relative):
                raise DamagedStoreError(
                    f"{reader.path / relative} does not belong to the store {reader.path}, whose "
                    "own files are as they were written: remove this file alone"
                )


def _is_chunk(reader: StoreReader, file: Path) -> bool:
    name, *key = file.parts
    if name not in reader.layout.names or len(key) < 2 or not key[1].isdecimal():
        return False
    index = int(key[1])
    return index < reader.n_chunks and str(file) == reader.layout.chunk_path(name, index)
