"""Reads and writes at any offset of a file, past the page cache, in whole blocks."""

import numpy as np
from crc32c import crc32c

from pipeline.shuffle.geometry import Geometry
from pipeline.store.chunkfile import BLOCK_BYTES, aligned_empty, read_all, whole_blocks, write_all

# Pieces go to the disk by way of a block-aligned buffer of this size.
STAGE_BYTES = 4 * 2**20
# Buckets are read beside the writing of others: smaller reads leave room between them.
READ_BYTES = 2 * 2**20


class Tails:
    """The last, partly filled block of every region: the next piece begins in the middle of it."""

    def __init__(self, geometry: Geometry) -> None:
        shape = (geometry.permutation.n_buckets, len(geometry.region_row_bytes))
        self._blocks = np.zeros((*shape, BLOCK_BYTES), np.uint8)
        self._known = np.zeros(shape, bool)

    def before(self, descriptor: int, bucket: int, region: int, offset: int) -> memoryview:
        """The block that byte `offset` is in; read from the disk after an earlier run's end."""
        block = self._blocks[bucket, region]
        if not self._known[bucket, region] and offset % BLOCK_BYTES:
            aligned = aligned_empty(BLOCK_BYTES, np.uint8)
            read_all(descriptor, aligned.data, offset // BLOCK_BYTES * BLOCK_BYTES)
            block[:] = aligned
        self._known[bucket, region] = True
        return block.data


def write_blocks(
    descriptor: int, data: memoryview, offset: int, tail: memoryview, stage: memoryview
) -> None:
    """Write `data` at any offset in whole, aligned blocks.

    tail: the contents so far of the block that `offset` is in; afterwards of the last block
    stage: aligned memory to write from
    """
    # What the block holds before the data is written again with it, and what the data leaves in the
    # last block is kept as the next tail. Bytes after it in that block are zeros as yet.
    while len(data):
        head = offset % BLOCK_BYTES
        n = min(len(data), len(stage) - head)
        stage[:head] = tail[:head]
        stage[head : head + n] = data[:n]
        left = (head + n) % BLOCK_BYTES
        tail[:left] = stage[head + n - left : head + n]
        end = whole_blocks(head + n)
        stage[head + n : end] = bytes(end - head - n)
        write_all(descriptor, stage[:end], offset - head)
        data, offset = data[n:], offset + n


def read_and_sum(descriptor: int, payload: memoryview, offset: int) -> int:
    """Fill block-aligned memory from a block-aligned offset. Returns the crc32c of it."""
    checksum = 0
    n_whole = len(payload) // BLOCK_BYTES * BLOCK_BYTES
    for start in range(0, n_whole, READ_BYTES):
        piece = payload[start : min(start + READ_BYTES, n_whole)]
        got = read_all(descriptor, piece, offset + start)
        checksum = crc32c(piece[:got], checksum)
    last = aligned_empty(BLOCK_BYTES, np.uint8).data
    got = read_all(descriptor, last, offset + n_whole) if n_whole < len(payload) else 0
    rest = last[: min(got, len(payload) - n_whole)]
    payload[n_whole : n_whole + len(rest)] = rest
    return crc32c(rest, checksum)
