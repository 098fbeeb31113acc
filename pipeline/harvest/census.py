"""Which tokens of the token store become activation rows: all but the start, wherever it stands,
and position 0 of each sequence, whatever stands there.

Letters: N sequences, S positions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.harvest.sequences import Sequences, token_batches
from pipeline.labels import TOKEN_CLASSES
from pipeline.store import StoreReader

NAMES = ("token_id", "source", "token_class")
COUNTED_SEQUENCES = 512


@dataclass(frozen=True)
class Census:
    """Rows of a range of sequences, batch by batch.

    first_rows: [n_batches + 1], the first row of each batch and, last, the number of rows
    counts: for the manifest
    """

    first_rows: NDArray[np.int64]
    counts: dict[str, int]

    @property
    def n_rows(self) -> int:
        return int(self.first_rows[-1])

    @property
    def n_batches(self) -> int:
        return len(self.first_rows) - 1

    def batch_of(self, row: int) -> int:
        """The batch that `row` is in; the number of batches for the row after the last."""
        return int(np.searchsorted(self.first_rows, row, side="right")) - 1


def rows_of(token_ids: NDArray[np.int32], start_id: int | None) -> NDArray[np.bool_]:
    """bool [N, S]: which of token_ids [N, S] give a row."""
    is_row = np.ones(token_ids.shape, bool) if start_id is None else token_ids != start_id
    is_row[:, :1] = False
    return is_row


def take_census(
    tokens: StoreReader, sequences: Sequences, batch_sequences: int, start_id: int | None
) -> Census:
    """Count the rows of `sequences` in batches of `batch_sequences`, before any model runs."""
    lengths, counts = [0], Counter[str]()
    sources = tokens.layout.sources
    for batch in token_batches(tokens, sequences, batch_sequences, NAMES):
        kept = rows_of(batch["token_id"], start_id)
        lengths.append(int(kept.sum()))
        counts["n_bos_dropped"] += kept.size - lengths[-1]
        for label, array in ((sources, "source"), (TOKEN_CLASSES, "token_class")):
            found = np.bincount(batch[array][kept], minlength=len(label))
            for name, n in zip(label, found, strict=True):
                counts[f"n_{name}_rows"] += int(n)
    first_rows = np.cumsum(lengths, dtype=np.int64)
    return Census(
        first_rows, {"n_rows": int(first_rows[-1]), "n_sequences": len(sequences), **dict(counts)}
    )


def rows_per_sequence(
    tokens: StoreReader, sequences: Sequences, start_id: int | None
) -> NDArray[np.int32]:
    """`[len(sequences)]`: rows that each sequence gives."""
    batches = token_batches(tokens, sequences, COUNTED_SEQUENCES, ("token_id",))
    counts = [rows_of(batch["token_id"], start_id).sum(axis=1) for batch in batches]
    return np.concatenate(counts).astype(np.int32)
