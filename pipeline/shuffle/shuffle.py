"""The shuffle of a store reads rows, deals them to buckets, puts every bucket in order and writes.

Three ways with one result: all rows in memory where they fit; two passes over buckets on disk; or
the second pass alone, where the producer of the rows has dealt them to buckets itself.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from pipeline.distributed import ALONE, Ranks
from pipeline.errors import MismatchError
from pipeline.shuffle.buckets import BucketReader, are_buckets, buckets_complete, remove_buckets
from pipeline.shuffle.memory import MemoryPlan, fits_page_cache, plan_memory
from pipeline.shuffle.permutation import Permutation
from pipeline.shuffle.scatter import BucketWriter
from pipeline.store import StoreReader, StoreWriter

SCRATCH = "buckets"

Report = Callable[[int], None]


def silent(_n_rows: int) -> None:
    """Report to nobody."""


def shuffle_store(
    source: Path,
    work: Path,
    *,
    seed: int,
    buffer_bytes: int,
    n_threads: int = 2,
    cached: bool | None = None,
    report: Report = silent,
    ranks: Ranks = ALONE,
) -> int:
    """Write all rows of `source`, permuted, as a store at `work`. Returns the number of rows.

    source: a store, or buckets that the producer of the rows has dealt for the same seed
    buffer_bytes: memory for buffers, beside the interpreter's own; it does not change the result
    cached: keep scratch in the page cache, unless that proves dear; None: where it fits there
    report: told rows as they are done, two times each in all, also those of an earlier, killed run
    ranks: the processes that shuffle together, each within its own buffers: each deals a run of the
        rows, and writes a run of the chunks
    Raises what the reader and the writer raise, and ConfigError for too little memory.
    """
    if are_buckets(source):
        return _permute_source(source, work, seed, buffer_bytes, n_threads, report, ranks)
    with StoreReader.open(source, n_threads=n_threads, direct=True) as reader:
        permutation = Permutation(seed, reader.n_rows)
        plan = plan_memory(reader.layout, permutation, buffer_bytes, n_threads)
        layout, scratch = reader.layout, work / SCRATCH
        if cached is None:
            cached = fits_page_cache(reader.n_rows * layout.row_bytes)
        if ranks.size == 1 and plan.in_memory and not scratch.exists():
            return _shuffle_in_memory(reader, work, permutation, plan, report)
    # Also clears what a kill left of a sealed one.
    with StoreWriter.open(work, layout, ranks=ranks, n_rows=permutation.n_rows) as writer:
        is_sealed = writer.sealed
        ranks.meet()
    if not is_sealed:
        cached = scatter_store(
            source, scratch, permutation, plan, cached=cached, report=report, ranks=ranks
        )
        Ordering.open(
            scratch,
            work,
            buffer_bytes=buffer_bytes,
            n_threads=n_threads,
            cached=cached,
            release=ranks.size == 1,
            ranks=ranks,
        ).run(report)
    if ranks.is_first:
        remove_buckets(scratch)
    return permutation.n_rows


def _permute_source(
    source: Path,
    work: Path,
    seed: int,
    buffer_bytes: int,
    n_threads: int,
    report: Report,
    ranks: Ranks,
) -> int:
    dealt = BucketReader.open(source).permutation
    if dealt.seed != seed:
        raise MismatchError(
            f"{source} was dealt to buckets for shuffle.seed {dealt.seed}, but the configuration "
            f"says {seed}: run `dvc repro dump`, or go back to shuffle.seed={dealt.seed}"
        )
    report(len(ranks.part(dealt.n_rows)))
    return Ordering.open(
        source, work, buffer_bytes=buffer_bytes, n_threads=n_threads, ranks=ranks
    ).run(report)


def scatter_store(
    source: Path,
    buckets: Path,
    permutation: Permutation,
    plan: MemoryPlan,
    *,
    cached: bool,
    report: Report,
    ranks: Ranks = ALONE,
) -> bool:
    """First pass: deal all rows of a store to their buckets, each process a run of them. Whether
    the page cache holds them; not where an earlier run has dealt them all."""
    with StoreReader.open(source) as reader:
        layout = reader.layout
    if ranks.from_first(lambda: buckets_complete(buckets, layout, permutation)):
        report(len(ranks.part(permutation.n_rows)))
        return False
    with (
        StoreReader.open(source, n_threads=plan.n_threads, direct=True) as reader,
        BucketWriter.open(
            buckets,
            reader.layout,
            permutation,
            load_rows=plan.load_rows,
            n_threads=plan.n_threads,
            cached=cached,
            ranks=ranks,
        ) as writer,
    ):
        report(writer.next_row - ranks.part(permutation.n_rows).start)
        names = reader.layout.names
        batch_rows, stop = reader.layout.rows_per_chunk, writer.stop_row
        for batch in reader.batches(batch_rows, writer.next_row, stop, names=names):
            writer.append(batch)
            report(len(batch[names[0]]))
        writer.finish()
        return writer.cached


@dataclass(frozen=True)
class Ordering:
    """Finished buckets on their way into a store, each in its random order. Each of several
    processes writes a run of chunks, from the buckets that reach into it.

    release: delete bucket files as soon as their rows are on disk in the store, save those with
        rows for two processes
    """

    reader: BucketReader
    writer: StoreWriter
    plan: MemoryPlan
    release: bool

    @classmethod
    def open(
        cls,
        buckets: Path,
        work: Path,
        *,
        buffer_bytes: int,
        n_threads: int = 2,
        cached: bool = False,
        release: bool = False,
        ranks: Ranks = ALONE,
    ) -> Self:
        """Begin the store at `work`, or take it up; all processes at the same time.

        cached: the buckets are in the page cache
        """
        reader = BucketReader.open(buckets, cached=cached)
        layout, permutation = reader.geometry.layout, reader.permutation
        plan = plan_memory(layout, permutation, buffer_bytes, n_threads)
        writer = StoreWriter.open(
            work, layout, n_threads=plan.n_threads, ranks=ranks, n_rows=permutation.n_rows
        )
        ordering = cls(reader, writer, plan, release)
        # The file in which this process's rows begin is another one's too, unless they begin it.
        reader.n_released = -(-ordering._first_row // reader.geometry.rows_per_file)
        return ordering

    def run(self, report: Report = silent) -> int:
        """Second pass: `write` and `finish`, the store closed at the end; its rows."""
        with closing(self):
            self.write(report)
            return self.finish()

    def write(self, report: Report = silent) -> None:
        """Write this process's rows, all but a last, short chunk; no other process is met."""
        writer = self.writer
        stop = min(writer.stop_row, self.reader.permutation.n_rows)
        report(max(0, writer.next_row - self._first_row))
        if writer.sealed or writer.next_row >= stop:
            return
        for rows, arrays in _parts_in_order(self.reader, writer.next_row, stop, self.plan):
            own = rows[: stop - writer.next_row]
            writer.append_rows(arrays, own)
            report(len(own))
            self._release()
            if writer.next_row == stop:
                break
        writer.flush()
        self._release()

    def finish(self) -> int:
        """Seal the store, once every process has come here; its rows."""
        return self.writer.finish()

    def close(self) -> None:
        """Give the store up; what is in it stays."""
        self.writer.close()

    @property
    def _first_row(self) -> int:
        return self.writer.own_chunks.start * self.reader.geometry.layout.rows_per_chunk

    def _release(self) -> None:
        if self.release:
            self.reader.release(self.writer.durable_rows // self.reader.permutation.bucket_rows)


def _parts_in_order(
    reader: BucketReader, next_row: int, stop_row: int, plan: MemoryPlan
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yields (rows, arrays) such that `arrays[name][rows]` are the next rows of the store, from the
    buckets that hold rows up to `stop_row`."""
    bucket_rows = reader.permutation.bucket_rows
    first, skipped = divmod(next_row, bucket_rows)
    wanted = range(first, -(-stop_row // bucket_rows))
    parts = _whole_buckets if plan.n_bucket_buffers else _buckets_in_parts
    for order, arrays in parts(reader, wanted, skipped, plan):
        step = reader.geometry.layout.rows_per_chunk
        for start in range(0, len(order), step):
            yield order[start : start + step], arrays


def _whole_buckets(
    reader: BucketReader, wanted: range, skipped: int, plan: MemoryPlan
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Bucket after bucket, the next ones read by threads where there is memory for several."""
    permutation = reader.permutation
    buffers = [
        reader.geometry.empty(int(permutation.capacities[0])) for _ in range(plan.n_bucket_buffers)
    ]
    ahead = plan.n_bucket_buffers - 1
    with ThreadPoolExecutor(max(ahead, 1), "bucket-reader") as pool:
        loads = [
            pool.submit(reader.load, bucket, buffers[bucket % len(buffers)])
            for bucket in wanted[:ahead]
        ]
        for bucket in wanted:
            if bucket + ahead < wanted.stop:
                buffer = buffers[(bucket + ahead) % len(buffers)]
                loads.append(pool.submit(reader.load, bucket + ahead, buffer))
            arrays = loads.pop(0).result()
            yield permutation.order(bucket)[skipped if bucket == wanted.start else 0 :], arrays


def _buckets_in_parts(
    reader: BucketReader, wanted: range, skipped: int, plan: MemoryPlan
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Where memory is too small for a bucket, it is read once for each part of its rows."""
    geometry, permutation = reader.geometry, reader.permutation
    part, slab = geometry.empty(plan.part_rows), geometry.empty(plan.slab_rows)
    for bucket in wanted:
        order = permutation.order(bucket)
        for start in range(skipped if bucket == wanted.start else 0, len(order), plan.part_rows):
            # A slab holds a run of ranks. So the part's ranks are sorted, the run of them that lies
            # in the slab is found by bisection, and each row goes to its place in the part.
            ranks = order[start : start + plan.part_rows]
            places = np.argsort(ranks)
            ranks = ranks[places]
            for region, target in enumerate(part):
                slabs = reader.slabs(bucket, region, plan.slab_rows, slab[region])
                for first_rank, rows in slabs:
                    a, b = np.searchsorted(ranks, [first_rank, first_rank + len(rows)])
                    target[places[a:b]] = rows[ranks[a:b] - first_rank]
            arrays = {name: np.ascontiguousarray(array) for name, array in geometry.named(part)}
            yield np.arange(len(ranks)), arrays


def _shuffle_in_memory(
    reader: StoreReader, work: Path, permutation: Permutation, plan: MemoryPlan, report: Report
) -> int:
    with StoreWriter.open(work, reader.layout, n_threads=plan.n_threads) as writer:
        report(reader.n_rows + writer.next_row)
        if writer.next_row < reader.n_rows:
            sources = permutation.sources()
            arrays = reader.rows(0, reader.n_rows)
            step = reader.layout.rows_per_chunk
            for first in range(writer.next_row, reader.n_rows, step):
                rows = sources[first : first + step]
                writer.append_rows(arrays, rows)
                report(len(rows))
        return writer.finish()
