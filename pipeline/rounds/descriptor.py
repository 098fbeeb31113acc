"""What `dump` and `shuffle` publish in place of training rows that are made in rounds.

`rounds.json`             rows per round; from the shuffle on also the seed and the rounds' bounds
`rows_per_sequence.npy`   rows that each training sequence gives, `[n_sequences]` int32

The manifest beside them holds the digests of models and tokens, the sections that decide the rows
and, among its facts, the digest of the code that makes them.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import canonical_json, write_json
from pipeline.imports import Project
from pipeline.rounds.order import Order

DESCRIPTOR = "rounds.json"
ROWS_PER_SEQUENCE = "rows_per_sequence.npy"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Described:
    """The training rows of an experiment, none of which needs to be on disk."""

    rows_per_round: int
    rows_per_sequence: NDArray[np.int32]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The descriptor at `path`, an artifact that has been checked."""
        plain = json.loads((path / DESCRIPTOR).read_bytes())
        return cls(plain["rows_per_round"], np.load(path / ROWS_PER_SEQUENCE))

    def write(self, folder: Path, **more: Any) -> None:
        """Write the descriptor; `more` goes into `rounds.json`."""
        plain = {"rows_per_round": self.rows_per_round, "n_rows": self.n_rows, **more}
        write_json(folder / DESCRIPTOR, plain)
        np.save(folder / ROWS_PER_SEQUENCE, self.rows_per_sequence)

    @property
    def n_rows(self) -> int:
        """Rows of one epoch."""
        return int(self.rows_per_sequence.sum(dtype=np.int64))

    def order(self, seed: int, epoch: int = 0) -> Order:
        """The order of an epoch."""
        return Order(seed, epoch, self.rows_per_sequence, self.rows_per_round)


def are_rounds(path: Path) -> bool:
    """Whether `path` holds a descriptor rather than rows."""
    return (path / DESCRIPTOR).exists()


def code_digest(stage: str) -> str:
    """One digest over the project files that a stage loads. Rows that a descriptor stands for are
    made with them, so that an edit there counts as one in the rows."""
    return hashlib.sha256(canonical_json(Project(ROOT).digests(f"stages.{stage}"))).hexdigest()
