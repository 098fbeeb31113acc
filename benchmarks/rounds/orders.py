"""The order of the training rows, cut from one dump, and how often rows of a sequence meet in it.

Letters: B rows of a batch, M models, D d_model.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.rounds.order import Order
from pipeline.runtime import numpy_generator
from pipeline.shuffle.permutation import Permutation
from pipeline.store.batches import WHOLE, Part

Rows = NDArray[np.int64]
"""Numbers of stored rows."""


@dataclass(frozen=True)
class Arm:
    """n_rounds: 1 is the full permutation; carried: share of the rows at hand that a round leaves
    to the next one, so that 1 / (1 - carried) rounds are on disk where there was one."""

    n_rounds: int
    carried: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """As `16`, or `16+0.5` where half of the rows at hand are carried over."""
        n_rounds, _, carried = text.partition("+")
        return cls(int(n_rounds), float(carried or 0))

    def __str__(self) -> str:
        return f"{self.n_rounds}+{self.carried}" if self.carried else str(self.n_rounds)


@dataclass(frozen=True)
class Ordered:
    """A RowSource of one epoch: stored rows `activations` [n, M, D] in a given order, all of them
    in memory. first: the rows of the first round, in the order of training."""

    activations: NDArray[np.uint16]
    order: Rows
    first: Rows

    @property
    def n_rows(self) -> int:
        return len(self.order)

    def batches(
        self,
        batch_rows: int,
        start_row: int = 0,
        stop_row: int | None = None,
        *,
        part: Part = WHOLE,
        **_unused: Any,
    ) -> Any:
        last = self.n_rows if stop_row is None else stop_row
        for first in range(start_row, last, batch_rows):
            wanted = part(min(batch_rows, last - first))
            rows = self.order[first + wanted.start : first + wanted.stop]
            yield {"activations": self.activations[rows]}


def order_of(sequence: NDArray[np.int32], arm: Arm, seed: int, n_epochs: int) -> tuple[Rows, Rows]:
    """Stored rows in the order of training, epoch after epoch, and those of the first round.

    sequence: of each stored row; later epochs have orders of their own
    """
    epochs = [rounds_of(sequence, arm.n_rounds, seed, epoch) for epoch in range(n_epochs)]
    order = [
        rows
        for epoch, rounds in enumerate(epochs)
        for rows in with_carried(rounds, arm.carried, seed, epoch)
    ]
    return np.concatenate(order), epochs[0][0]


def rounds_of(sequence: NDArray[np.int32], n_rounds: int, seed: int, epoch: int) -> list[Rows]:
    """The rows of each round of an epoch as the pipeline makes them, in order."""
    if n_rounds == 1:
        return [Permutation(seed + 1000 * epoch, len(sequence)).sources()]
    counts = np.bincount(sequence).astype(np.int32)
    longest = int(counts.max())
    order = Order(seed, epoch, counts, -(-len(sequence) // n_rounds) + longest - 1)
    assert order.n_rounds == n_rounds, f"{order.n_rounds} rounds were cut, not {n_rounds}"
    return [
        np.flatnonzero(np.isin(sequence, each.sequences))[
            Permutation(each.seed, each.n_rows).sources()
        ]
        for each in map(order.round, range(n_rounds))
    ]


def with_carried(rounds: list[Rows], carried: float, seed: int, epoch: int) -> list[Rows]:
    """The rows trained on in each round where rows drawn at random are left to the next one."""
    if not carried:
        return rounds
    random = numpy_generator(seed, "benchmark", "carried", str(epoch))
    kept, trained = rounds[0][:0], []
    for number, rows in enumerate(rounds, start=1):
        at_hand = random.permutation(np.concatenate([kept, rows]))
        n_kept = int(carried * len(at_hand)) if number < len(rounds) else 0
        kept = at_hand[:n_kept]
        trained.append(at_hand[n_kept:])
    return trained


def partners(sequence: NDArray[np.int32], batch_rows: int) -> float:
    """Other rows of a row's sequence in its batch, mean over the rows; sequences in row order."""
    met = 0
    for first in range(0, len(sequence), batch_rows):
        counts = Counter(sequence[first : first + batch_rows].tolist())
        met += sum(n * (n - 1) for n in counts.values())
    return met / len(sequence)
