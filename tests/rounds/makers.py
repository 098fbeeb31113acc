"""A maker of rounds without models: a row tells its sequence and its place in it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.distributed import ALONE, Ranks
from pipeline.rounds.descriptor import Described
from pipeline.rounds.order import Round
from pipeline.shuffle.scatter import deal_as_produced
from pipeline.shuffle.shuffle import Ordering, Report
from pipeline.store import activation_layout

ROWS_PER_CHUNK = 160
MEMORY_BYTES = 64 * 2**20
D_MODEL = 16
RANDOM = np.random.default_rng(0).integers(0, 0x0180, (4099, 2 * D_MODEL))


class StopError(Exception):
    """Stands for a kill."""


class CountingMaker:
    """Deals and orders rows as the real one does, and notes each call.

    kill: called with the name of each step, before it and in the middle of it
    """

    def __init__(
        self,
        described: Described,
        kill: Callable[[str], None] = lambda step: None,
        ranks: Ranks = ALONE,
    ):
        self.described, self.kill, self.ranks = described, kill, ranks
        self.dealt: list[str] = []

    def deal(self, each: Round, buckets: Path) -> None:
        self.kill("deal")
        layout = activation_layout(2, D_MODEL, ROWS_PER_CHUNK)
        rows = rows_of(self.described, each.sequences)
        n_rows = len(rows["sequence"])
        assert n_rows == each.n_rows
        with deal_as_produced(
            buckets,
            layout,
            n_rows,
            seed=each.seed,
            buffer_bytes=MEMORY_BYTES,
            n_threads=1,
            ranks=self.ranks,
        ) as writer:
            own = self.ranks.part(n_rows)
            middle = (own.start + own.stop) // 2
            for start, stop in ((own.start, middle), (middle, own.stop)):
                begin = max(writer.next_row, start)
                if begin < stop:
                    writer.append({name: array[begin:stop] for name, array in rows.items()})
                self.kill("dealing")
            if not writer.sealed:
                writer.finish()
        self.dealt.append(each.name)

    def ordering(self, buckets: Path, rows: Path) -> "KillableOrdering":
        opened = Ordering.open(
            buckets, rows, buffer_bytes=MEMORY_BYTES, n_threads=1, release=True, ranks=self.ranks
        )
        return KillableOrdering(opened, self.kill)


@dataclass
class KillableOrdering:
    opened: Ordering
    kill: Callable[[str], None]

    def write(self, report: Report) -> None:
        self.kill("order")

        def told(n_rows: int) -> None:
            self.kill("ordering")
            report(n_rows)

        self.opened.write(told)
        self.kill("ordered")

    def finish(self) -> int:
        return self.opened.finish()

    def close(self) -> None:
        self.opened.close()


def rows_of(described: Described, sequences: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of some sequences' rows; `activations` holds small random numbers of the row."""
    lengths = described.rows_per_sequence[sequences]
    sequence = np.repeat(sequences, lengths).astype(np.int32)
    position = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
    number = sequence.astype(np.int64) * 61 + position
    # bfloat16 between 0.25 and 2, so that a crosscoder can be trained on it
    bits = 0x3E80 + RANDOM[number % len(RANDOM)]
    same = np.zeros(len(sequence), np.int32)
    return {
        "activations": bits.astype(np.uint16).reshape(-1, 2, D_MODEL),
        "source": same.astype(np.uint8),
        "token_id": same,
        "sequence": sequence,
        "position": position,
        "document": same,
        "token_class": same.astype(np.uint8),
    }


def epoch_rows(described: Described, seed: int, epoch: int) -> np.ndarray:
    """Activations of an epoch as the definition has them: round after round, each permuted."""
    from pipeline.shuffle.permutation import Permutation

    order = described.order(seed, epoch)
    rounds = [order.round(number) for number in range(order.n_rounds)]
    return np.concatenate(
        [
            rows_of(described, each.sequences)["activations"][
                Permutation(each.seed, each.n_rows).sources()
            ]
            for each in rounds
        ]
    )
