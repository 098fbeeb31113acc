"""A small dump in several processes, from TOKENS into STORE, with [DYING_RANK N_BATCHES].

The dying rank kills itself with signal 9 before the models run on one batch more than N_BATCHES.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from pipeline.distributed import joined, world
from pipeline.errors import PipelineError
from pipeline.harvest.dump import dump
from pipeline.harvest.pair import PairedForward
from pipeline.harvest.sink import Target
from pipeline.runtime import set_threads
from pipeline.stage import tell
from pipeline.store import StoreReader, StoreWriter
from tests.harvest.conftest import small_pair

BATCH_TOKENS = 4 * 16
ROWS_PER_CHUNK = 30


def die_before_batch(n_batches: int) -> None:
    original, calls = PairedForward.__call__, [0]

    def forward(self: PairedForward, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] > n_batches:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments)

    setattr(PairedForward, "__call__", forward)  # noqa: B010 - of other parameter names


def main(arguments: list[str]) -> None:
    tokens, store, *death = arguments
    set_threads(1)
    if death and world().rank == int(death[0]):
        die_before_batch(int(death[1]))
    try:
        with joined(60.0, "cpu", "dump"), StoreReader.open(Path(tokens)) as reader:
            dump(
                [
                    Target(
                        lambda layout, n_rows: StoreWriter.open(
                            Path(store), layout, ranks=world(), n_rows=n_rows
                        )
                    )
                ],
                reader,
                range(reader.n_rows),
                small_pair(),
                batch_tokens=BATCH_TOKENS,
                rows_per_chunk=ROWS_PER_CHUNK,
                codec="none",
                progress_name="dump",
                ranks=world(),
            )
    except PipelineError as error:
        tell(f"error: {error}\n")
        sys.exit(2)
