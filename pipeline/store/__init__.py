"""A store holds the rows of one or more arrays as Zarr v3 on disk, written and read at disk speed.

A row is one token's activations with its labels, or one sequence of tokens. The rows of every array
are cut into chunks of the same length, a file each:

    store.zarr/
      zarr.json, <array>/zarr.json   what any Zarr library needs to open it          layout
      <array>/c/<chunk>/0/0          coded rows, then their crc32c        chunkfile, codecs
      journal.jsonl                  while it is written: the chunks on disk        journal
      chunks.npy, seal.json          at the end: size and sum of every chunk, signed   seal
      manifest.json                  what made it               written by the stage, artifacts

Key types: StoreLayout (which arrays, how chunked and coded), StoreWriter (fills chunks in order and
goes on after a kill), StoreReader (rows, single rows, batches of an epoch; every chunk's sum is
checked before its rows go out). `batches` reads the stored order ahead, `epochs` the order of later
epochs, `verify` a whole store.

with StoreWriter.open(path, activation_layout(2, 2304, 4096)) as writer:
    writer.append({"activations": ..., "source": ..., ...})   # from writer.next_row on
    writer.finish()
with StoreReader.open(path) as reader:
    for batch in reader.batches(4096):
        batch["activations"]                                  # [4096, 2, 2304] uint16 (bf16)
verify_store(path)
"""

from pipeline.store.layout import ArraySpec, StoreLayout, activation_layout, token_layout
from pipeline.store.reader import StoreReader
from pipeline.store.rows import OpenWriter, RowWriter
from pipeline.store.verify import Verified, verify_store
from pipeline.store.writer import StoreWriter

__all__ = [
    "ArraySpec",
    "OpenWriter",
    "RowWriter",
    "StoreLayout",
    "StoreReader",
    "StoreWriter",
    "Verified",
    "activation_layout",
    "token_layout",
    "verify_store",
]
