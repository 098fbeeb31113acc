"""How many rows each batch of a dump has kept and left out, on disk beside the rows.

Where rows are left out by what the models say, their number follows from no count of tokens. So a
line is written for each batch before its rows are stored: a dump that was killed finds by them the
batch that its next row is in, and what the batches before left out. The file stays in the store:

`outliers.jsonl`   a line per batch: the counts of `counts_of`
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.labels import FIRST_POSITIONS, TOKEN_CLASSES
from pipeline.store.chunkfile import clear_space_errors

TALLY = "outliers.jsonl"
REASONS = {"base_only": (True, False), "it_only": (False, True), "both": (True, True)}
"""Reason -> whether the norm exceeds the limit in base, and in IT."""


def counts_of(
    labels: Mapping[str, NDArray[np.generic]], beyond_RM: NDArray[np.bool_], sources: Sequence[str]
) -> dict[str, int]:
    """Of a batch's rows: how many are kept, by source and class, and how many are left out, by
    reason, position and source. labels: per row; beyond_RM: whether its norm exceeds the limit"""
    kept = ~beyond_RM.any(axis=1)
    position = labels["position"].astype(np.int64)[~kept]
    counts = {"n_rows": int(kept.sum()), "n_outliers": int((~kept).sum())}
    for reason, (in_base, in_it) in REASONS.items():
        found = (beyond_RM == (in_base, in_it)).all(axis=1)
        counts[f"n_outliers_{reason}"] = int(found.sum())
    counts |= {f"n_outliers_at_{p}": int((position == p).sum()) for p in FIRST_POSITIONS}
    counts["n_outliers_later"] = int((position >= FIRST_POSITIONS.stop).sum())
    for names, column in ((sources, "source"), (TOKEN_CLASSES, "token_class")):
        codes = np.asarray(labels[column])
        of_kept = np.bincount(codes[kept], minlength=len(names)).tolist()
        counts |= {f"n_{name}_rows": n for name, n in zip(names, of_kept, strict=True)}
    left_out = np.bincount(np.asarray(labels["source"])[~kept], minlength=len(sources)).tolist()
    return counts | {f"n_{name}_outliers": n for name, n in zip(sources, left_out, strict=True)}


class Tally:
    """The counts of the batches so far. Open it where the rows are stored.

    counts: the sums over these batches
    """

    def __init__(self, path: Path) -> None:
        self.counts = Counter[str]()
        self._path = path
        self._first_rows = [0]
        self._is_torn = False

    @classmethod
    def open(cls, folder: Path) -> Self:
        """What was counted in `folder` before; a line that a kill left torn is cut off."""
        tally = cls(folder / TALLY)
        with clear_space_errors(tally._path):
            folder.mkdir(parents=True, exist_ok=True)
            with tally._path.open("a+b") as file:
                file.seek(0)
                n_bytes = sum(tally._take(line) for line in iter(file.readline, b""))
                file.truncate(n_bytes)
        return tally

    @property
    def n_batches(self) -> int:
        """Batches that were counted."""
        return len(self._first_rows) - 1

    def first_row(self, batch: int) -> int:
        """The row that a batch begins with, of which all before were counted."""
        return self._first_rows[batch]

    def batch_of(self, row: int) -> int:
        """The batch that `row` is in; the first that was not counted for rows beyond."""
        return bisect_right(self._first_rows, row) - 1

    def add(self, counts: dict[str, int]) -> None:
        """Write down the counts of the next batch."""
        line = json.dumps(counts, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        with clear_space_errors(self._path), self._path.open("ab") as file:
            file.write(line)
        self._see(counts)

    def _see(self, counts: dict[str, int]) -> None:
        self.counts.update(counts)
        self._first_rows.append(self._first_rows[-1] + counts["n_rows"])

    def _take(self, line: bytes) -> int:
        """Read a line; the bytes it takes, none where it is torn or follows a torn one."""
        if self._is_torn:
            return 0
        try:
            counts = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            counts = None
        self._is_torn = not isinstance(counts, dict)
        if not isinstance(counts, dict):
            return 0
        self._see(counts)
        return len(line)
