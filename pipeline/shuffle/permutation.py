"""A uniformly random permutation of n rows, a pure function of seed and row count.

It is not held in memory: what a block of rows or a bucket needs of it is drawn when it is needed.

The output is cut into buckets of `bucket_rows` rows, the input into blocks of as many. Block after
block, the rows each bucket gets are drawn from a multivariate hypergeometric distribution over the
room left, and dealt to the block's rows in random order: every assignment of rows to buckets is
equally likely, and every bucket fills exactly. Inside a bucket, rows stand in order of arrival and
are then put in uniformly random order. Each draw has its own random stream.

Letters: a row's `rank` is its place in its bucket in order of arrival.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.errors import ConfigError
from pipeline.runtime import numpy_generator

MIN_BUCKET_ROWS = 4_096
# Rows that one block sends to one bucket, on average: fewer would make scattered writes small.
ROWS_PER_PIECE = 32
# The limit of NumPy's hypergeometric generator.
MAX_ROWS = 10**9


@dataclass(frozen=True)
class Block:
    """One run of input rows and where they go. buckets: `[stop - start]`, the bucket of each row.

    filled: `[n_buckets]`, rows that each bucket got from earlier blocks
    """

    start: int
    stop: int
    buckets: np.ndarray
    filled: np.ndarray


@dataclass(frozen=True)
class Permutation:
    """The permutation of `n_rows` rows that `seed` decides."""

    seed: int
    n_rows: int

    def __post_init__(self) -> None:
        if not 0 < self.n_rows < MAX_ROWS:
            raise ConfigError(
                f"{self.n_rows:,} rows cannot be shuffled: the store must have 1 to "
                f"{MAX_ROWS - 1:,} rows; lower mix.n_train_tokens or split the store"
            )

    @cached_property
    def bucket_rows(self) -> int:
        """Rows of a bucket and of a block: a power of two near sqrt(32 n), at least 4,096."""
        wanted = (ROWS_PER_PIECE * self.n_rows) ** 0.5
        return max(MIN_BUCKET_ROWS, 1 << (int(wanted) - 1).bit_length())

    @property
    def n_buckets(self) -> int:
        return -(-self.n_rows // self.bucket_rows)

    @property
    def n_blocks(self) -> int:
        return self.n_buckets

    def bucket_range(self, bucket: int) -> tuple[int, int]:
        """First and last-plus-one output row of a bucket; also the input rows of a block."""
        return bucket * self.bucket_rows, min((bucket + 1) * self.bucket_rows, self.n_rows)

    @cached_property
    def capacities(self) -> np.ndarray:
        """`[n_buckets]` int64: rows that each bucket holds in the end."""
        sizes = np.full(self.n_buckets, self.bucket_rows, np.int64)
        sizes[-1] = self.n_rows - (self.n_buckets - 1) * self.bucket_rows
        return sizes

    def counts(self, block: int, filled: np.ndarray) -> np.ndarray:
        """`[n_buckets]`: rows that a block sends to each bucket, given the rows before it."""
        start, stop = self.bucket_range(block)
        room = self.capacities - filled
        generator = self._generator("counts", block)
        return generator.multivariate_hypergeometric(room, stop - start, method="marginals")

    def block(self, number: int, filled: np.ndarray) -> Block:
        """A block's rows and their buckets. filled: rows in each bucket before this block."""
        start, stop = self.bucket_range(number)
        dtype = np.min_scalar_type(self.n_buckets - 1)
        counts = self.counts(number, filled)
        buckets = np.repeat(np.arange(self.n_buckets, dtype=dtype), counts)
        self._generator("deal", number).shuffle(buckets)
        return Block(start, stop, buckets, filled)

    def blocks(self, first: int = 0, filled: np.ndarray | None = None) -> Iterator[Block]:
        """All blocks from `first` on; `filled` is needed unless `first` is 0."""
        assert first == 0 or filled is not None
        filled = np.zeros(self.n_buckets, np.int64) if filled is None else filled
        for number in range(first, self.n_blocks):
            block = self.block(number, filled)
            yield block
            filled = filled + np.bincount(block.buckets, minlength=self.n_buckets)

    def filled_before(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """`[n_buckets]`, twice: rows in each bucket before the block of an input row, and before
        the row itself."""
        block, at = divmod(row, self.bucket_rows)
        filled = np.zeros(self.n_buckets, np.int64)
        for number in range(block):
            filled = filled + self.counts(number, filled)
        if not at:
            return filled, filled
        dealt = self.block(block, filled).buckets[:at]
        return filled, filled + np.bincount(dealt, minlength=self.n_buckets)

    def order(self, bucket: int) -> np.ndarray:
        """`[rows of the bucket]` int64: the rank of the row that stands at each place of it."""
        start, stop = self.bucket_range(bucket)
        return self._generator("order", bucket).permutation(stop - start)

    def sources(self) -> np.ndarray:
        """`[n_rows]` int64: the input row of every output row. For stores that fit in memory."""
        ranked = np.empty(self.n_rows, np.int64)
        for block in self.blocks():
            order, starts = group_rows(block.buckets, self.n_buckets)
            for bucket in range(self.n_buckets):
                rows = block.start + order[starts[bucket] : starts[bucket + 1]]
                at = bucket * self.bucket_rows + int(block.filled[bucket])
                ranked[at : at + len(rows)] = rows
        for bucket in range(self.n_buckets):
            start, stop = self.bucket_range(bucket)
            ranked[start:stop] = ranked[start:stop][self.order(bucket)]
        return ranked

    def _generator(self, kind: str, number: int) -> np.random.Generator:
        return numpy_generator(self.seed, "shuffle", str(self.n_rows), kind, str(number))


def group_rows(buckets: np.ndarray, n_buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows grouped by bucket, in order of arrival, and where each group begins."""
    order = np.argsort(buckets, kind="stable")
    counts = np.bincount(buckets, minlength=n_buckets)
    return order, np.concatenate([[0], np.cumsum(counts)])
