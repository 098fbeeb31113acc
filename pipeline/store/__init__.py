"""A store of rows for training on: Zarr v3 on disk, written and read at disk speed, never wrong.

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
