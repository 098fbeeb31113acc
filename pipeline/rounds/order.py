"""The order of an epoch's training rows in rounds: a pure function of seed and counts.

The sequences are put in a uniformly random order, which mixes the sources, and cut into runs of
nearly as many rows. The rows of each run, which is a round, are permuted uniformly in turn.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.runtime import numpy_generator, stream_seed


@dataclass(frozen=True)
class Round:
    """The rows `[start, stop)` of an epoch.

    sequences: their numbers in the token store, rising; seed: of the permutation of the rows
    """

    name: str
    sequences: NDArray[np.int64]
    start: int
    stop: int
    seed: int

    @property
    def n_rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Order:
    """One epoch, cut into rounds of at most `rows_per_round` rows.

    rows_per_sequence: `[n_sequences]`, rows that each training sequence gives
    """

    seed: int
    epoch: int
    rows_per_sequence: NDArray[np.int32]
    rows_per_round: int

    def __post_init__(self) -> None:
        # Shorter rounds could be empty, as a round ends with a whole sequence.
        if self.rows_per_round < 3 * self._longest:
            raise ConfigError(
                f"dump.rows_per_round is {self.rows_per_round:,}, but a sequence gives "
                f"{self._longest:,} rows: set dump.rows_per_round to at least three sequences, "
                "better some thousand"
            )

    @property
    def _longest(self) -> int:
        return int(self.rows_per_sequence.max())

    @property
    def n_rows(self) -> int:
        return int(self.rows_per_sequence.sum(dtype=np.int64))

    @property
    def n_rounds(self) -> int:
        # A round ends with the sequence in which its share of the rows ends, so it is longer than
        # the share by less than a sequence.
        return -(-self.n_rows // (self.rows_per_round - self._longest + 1))

    @cached_property
    def sequences(self) -> NDArray[np.int64]:
        """Numbers of the sequences in the order of the epoch."""
        generator = numpy_generator(self.seed, "rounds", "sequences", str(self.epoch))
        return generator.permutation(len(self.rows_per_sequence))

    @cached_property
    def cuts(self) -> NDArray[np.int64]:
        """`[n_rounds + 1]`: sequences of the epoch before each round, and last all of them."""
        shares = self.n_rows * np.arange(self.n_rounds) // self.n_rounds
        inner = np.searchsorted(self._rows_before, shares)
        return np.append(inner, len(self.sequences))

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """`[n_rounds + 1]`: rows of the epoch before each round, and last all of them."""
        return self._rows_before[self.cuts]

    @cached_property
    def _rows_before(self) -> NDArray[np.int64]:
        """`[n_sequences + 1]`: rows before each sequence of the epoch."""
        rows = self.rows_per_sequence[self.sequences].astype(np.int64)
        return np.concatenate([[0], np.cumsum(rows)])

    def round(self, number: int) -> Round:
        """Round `number` of the epoch, counted from 0."""
        start, stop = (int(row) for row in self.starts[number : number + 2])
        return Round(
            f"epoch-{self.epoch}-seed-{self.seed}-round-{number:04d}",
            np.sort(self.sequences[self.cuts[number] : self.cuts[number + 1]]),
            start,
            stop,
            stream_seed(self.seed, "rounds", "rows", str(self.epoch), str(number)),
        )

    def round_at(self, row: int) -> Round:
        """The round that holds a row of the epoch."""
        return self.round(int(np.searchsorted(self.starts, row, side="right")) - 1)
