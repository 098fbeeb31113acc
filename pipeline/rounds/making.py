"""Makes the rows of a round: computed and dealt to buckets, then put in order.

Training loads this module by name. So the code of harvest and shuffle is no part of the training's
own (`data/code/train.json`): where rows are stored, an edit there that leaves the store unchanged
trains nothing anew; where they come in rounds, the descriptors hold the digest of that code.
"""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.distributed import ALONE, Ranks
from pipeline.harvest.census import rows_per_sequence, take_census
from pipeline.models.start import read_start
from pipeline.rounds.descriptor import Described, code_digest
from pipeline.rounds.order import Round
from pipeline.rounds.pair_rows import PairRows
from pipeline.shuffle.scatter import BucketWriter, deal_as_produced
from pipeline.shuffle.shuffle import Ordering
from pipeline.stage import MODELS, TOKENS
from pipeline.store import StoreLayout, StoreReader

COUNTED_SEQUENCES = 512


def describe(config: Config, tokens: StoreReader, n_sequences: int) -> tuple[Described, dict]:
    """The training rows of the first `n_sequences` sequences, and the counts of their manifest."""
    assert config.dump.rows_per_round is not None
    start_id, sequences = read_start(MODELS).id, range(n_sequences)
    counts = take_census(tokens, sequences, COUNTED_SEQUENCES, start_id).counts
    rows = rows_per_sequence(tokens, sequences, start_id)
    described = Described(config.dump.rows_per_round, rows)
    described.order(config.shuffle.seed)  # refuses rounds that are too short
    return described, counts


def publish_description(
    config: Config, tokens: StoreReader, n_sequences: int, facts: dict[str, Any], build: Build
) -> None:
    """Publish what the rounds of training rows are made from, in place of the rows."""
    described, counts = describe(config, tokens, n_sequences)
    described.write(build.work)
    build.publish(counts=counts, facts={**facts, "code": code_digest("dump")})


class Maker(AbstractContextManager["Maker"]):
    """Makes rounds in folders of their own. Use as a context manager.

    ranks: the processes that make them together, each a part of the rows; all call the same methods
    at the same time
    """

    def __init__(self, config: Config, ranks: Ranks = ALONE) -> None:
        self.config, self.ranks = config, ranks
        self._opened = ExitStack()
        n_threads = config.runtime.io_threads
        tokens = self._opened.enter_context(StoreReader.open(TOKENS, n_threads=n_threads))
        self._rows = PairRows(config, tokens)

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def deal(self, each: Round, buckets: Path) -> None:
        """Compute the rows of a round and deal them to `buckets`, going on after a kill."""

        def open_writer(layout: StoreLayout, n_rows: int) -> BucketWriter:
            return deal_as_produced(
                buckets,
                layout,
                n_rows,
                seed=each.seed,
                buffer_bytes=self.config.shuffle.memory_bytes,
                n_threads=self.config.runtime.io_threads,
                ranks=self.ranks,
            )

        layer = self.config.hook_point.layer
        self._rows.write({layer: open_writer}, each.sequences, "dump_round", self.ranks)

    def ordering(self, buckets: Path, rows: Path) -> Ordering:
        """What writes the rows of finished buckets in their order, a store at `rows`; each file of
        buckets goes once its rows are durable there."""
        return Ordering.open(
            buckets,
            rows,
            buffer_bytes=self.config.shuffle.memory_bytes,
            n_threads=self.config.runtime.io_threads,
            release=True,
            ranks=self.ranks,
        )
