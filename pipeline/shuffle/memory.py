"""How much of everything the shuffle keeps in memory, so that a limit in bytes is kept."""

from dataclasses import dataclass

import psutil

from pipeline.errors import ConfigError
from pipeline.shuffle.blocks import STAGE_BYTES
from pipeline.shuffle.permutation import Permutation
from pipeline.store import StoreLayout
from pipeline.store.chunkfile import BLOCK_BYTES

# Per row of a load: its place, its order, its bucket and copies of them while they are made.
INDEX_BYTES = 40
# Interpreter objects, thread stacks and allocator slack of a running shuffle.
SLACK_BYTES = 8 * 2**20
MIN_SLAB_ROWS = 256
# Larger loads make larger pieces; beyond this, memory is touched for nothing.
ENOUGH_PIECE_BYTES = 2**20
ENOUGH_LOAD_BYTES = 2**26
# Memory that a process touches for the first time can cost more than the disk: on a virtual machine
# that gets its memory by the page, 1.5 GB took 4.5 s/GB, and two passes over the disk 3.3.
MAX_IN_MEMORY_BYTES = 2**28


@dataclass(frozen=True)
class MemoryPlan:
    """in_memory: all rows at once, no buckets on disk. load_rows: rows per load of the first pass.

    n_bucket_buffers: whole buckets in memory in the second pass; 0: a bucket is read once for each
    of its parts of `part_rows` rows, in slabs of `slab_rows`
    """

    n_threads: int
    in_memory: bool
    load_rows: int
    n_bucket_buffers: int
    part_rows: int
    slab_rows: int


def plan_memory(
    layout: StoreLayout, permutation: Permutation, buffer_bytes: int, n_threads: int
) -> MemoryPlan:
    """Divide `buffer_bytes` of memory, used beside the interpreter's own.

    Raises ConfigError with the least that would do.
    """
    needed = least_bytes(layout, permutation)
    if buffer_bytes < needed:
        raise ConfigError(
            f"the shuffle may use {buffer_bytes:,} bytes for its buffers, but chunks of "
            f"{layout.chunk_bytes:,} bytes need {needed:,}: raise shuffle.memory_bytes by "
            f"{needed - buffer_bytes:,} or lower dump.rows_per_chunk"
        )
    while n_threads > 1 and buffer_bytes < _least(layout, permutation, n_threads):
        n_threads -= 1
    # The two passes follow each other, so each may use all of it: the first for the reader's ring
    # and two loads, the second for the writer's chunks and whole buckets.
    left = buffer_bytes - SLACK_BYTES
    row = layout.row_bytes + INDEX_BYTES
    writing = left - _writer_bytes(layout, n_threads)
    loads = left - _ring_bytes(layout, n_threads) - _stage_bytes(permutation, n_threads)
    enough = _enough_load_bytes(permutation)
    bucket = permutation.bucket_rows * row
    whole = permutation.n_rows * row + layout.chunk_bytes * n_threads
    part_rows = (writing - _slab_bytes(layout)) // row
    return MemoryPlan(
        n_threads=n_threads,
        in_memory=whole <= min(writing, MAX_IN_MEMORY_BYTES),
        load_rows=min(permutation.n_rows, loads // (2 * row), enough // row),
        n_bucket_buffers=min(1 + n_threads, writing // bucket),
        part_rows=min(permutation.bucket_rows, part_rows),
        slab_rows=max(1, _slab_bytes(layout) // row),
    )


def fits_page_cache(n_bytes: int) -> bool:
    """Whether the page cache can hold scratch of `n_bytes` and leave as much memory free again.

    It is memory that the system takes back when anybody needs it, not the process's own.
    """
    return 2 * n_bytes <= psutil.virtual_memory().available


def producer_load_rows(
    layout: StoreLayout, permutation: Permutation, buffer_bytes: int, n_threads: int
) -> int:
    """Rows per load of a producer that deals its rows to buckets within `buffer_bytes`.

    Raises ConfigError where not even a chunk of rows fits twice.
    """
    row = layout.row_bytes + INDEX_BYTES
    fixed = SLACK_BYTES + _stage_bytes(permutation, n_threads)
    rows = min(permutation.n_rows, layout.rows_per_chunk)
    if buffer_bytes < fixed + 2 * rows * row:
        raise ConfigError(
            f"a dump that deals rows to {permutation.n_buckets:,} buckets needs "
            f"{fixed + 2 * rows * row:,} bytes for its buffers, shuffle.memory_bytes is "
            f"{buffer_bytes:,}: raise it, or set dump.scatter_seed=null"
        )
    return min((buffer_bytes - fixed) // (2 * row), _enough_load_bytes(permutation) // row)


def least_bytes(layout: StoreLayout, permutation: Permutation) -> int:
    """Least buffer memory that a shuffle of this layout can run in, with one thread."""
    return _least(layout, permutation, 1)


def _least(layout: StoreLayout, permutation: Permutation, n_threads: int) -> int:
    rows = min(permutation.n_rows, layout.rows_per_chunk)
    row = layout.row_bytes + INDEX_BYTES
    first_pass = _ring_bytes(layout, n_threads) + _stage_bytes(permutation, n_threads)
    first_pass += 2 * rows * row
    second_pass = _writer_bytes(layout, n_threads) + rows * row + _slab_bytes(layout)
    return SLACK_BYTES + max(first_pass, second_pass)


def _enough_load_bytes(permutation: Permutation) -> int:
    return max(ENOUGH_LOAD_BYTES, permutation.n_buckets * ENOUGH_PIECE_BYTES)


def _ring_bytes(layout: StoreLayout, n_threads: int) -> int:
    """The reader's ring for batches of one chunk, and coded chunks on their way into it."""
    coded = 0 if layout.codec == "none" else 2 * n_threads
    return (n_threads + 1 + coded) * layout.chunk_bytes


def _stage_bytes(permutation: Permutation, n_threads: int) -> int:
    """What the writing of pieces needs: a stage per thread, and a block per bucket and region."""
    return n_threads * STAGE_BYTES + 2 * permutation.n_buckets * BLOCK_BYTES


def _writer_bytes(layout: StoreLayout, n_threads: int) -> int:
    coded = 0 if layout.codec == "none" else 2 * n_threads
    return (n_threads + 1 + coded) * layout.chunk_bytes


def _slab_bytes(layout: StoreLayout) -> int:
    return max(MIN_SLAB_ROWS * layout.row_bytes, min(layout.chunk_bytes, 4 * 2**20))
