"""Where a producer's rows go: into a store, or at once to the buckets of the shuffle."""

from pathlib import Path

from pipeline.config import Config
from pipeline.distributed import ALONE, Ranks
from pipeline.shuffle.scatter import BucketWriter, deal_as_produced
from pipeline.store import OpenWriter, StoreLayout, StoreWriter


def is_dealt(config: Config, output: str) -> bool:
    """Whether the rows of an output of the dump go to the shuffle's buckets at once, not into a
    store."""
    return output == "activations" and config.dump.scatter_seed is not None


def writer_for(config: Config, work: Path, is_dealt: bool, ranks: Ranks = ALONE) -> OpenWriter:
    """What opens the writer in `work`, of one process or of several that write together.

    `shuffle` is not among the sections of the stage that calls this: its memory decides no byte of
    the buckets.
    """

    def open_writer(layout: StoreLayout, n_rows: int) -> StoreWriter | BucketWriter:
        seed, n_threads = config.dump.scatter_seed, config.runtime.io_threads
        if seed is None or not is_dealt:
            return StoreWriter.open(work, layout, n_threads=n_threads, ranks=ranks, n_rows=n_rows)
        memory = config.shuffle.memory_bytes
        return deal_as_produced(
            work,
            layout,
            n_rows,
            seed=seed,
            buffer_bytes=memory,
            n_threads=n_threads,
            ranks=ranks,
        )

    return open_writer
