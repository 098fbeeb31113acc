"""The store as one model: rows of h_it - h_base, for a dictionary of the difference itself.

Letters: B rows, M models (base, IT), D d_model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.store.batches import WHOLE, Part
from pipeline.training.stream import ACTIVATIONS, RowSource, as_tensor

BASE, IT = 0, 1


@dataclass(frozen=True)
class DifferenceRows:
    """A RowSource of [B, 1, D] rows in float32 over another one of [B, M, D] rows.

    The two are subtracted in float32: bfloat16 would round away what they have in common.
    """

    source: RowSource

    @property
    def n_rows(self) -> int:
        return self.source.n_rows

    def batches(
        self,
        batch_rows: int,
        start_row: int = 0,
        stop_row: int | None = None,
        *,
        epoch: int = 0,
        seed: int = 0,
        part: Part = WHOLE,
    ) -> Iterator[dict[str, Any]]:
        for rows in self.source.batches(
            batch_rows, start_row, stop_row, epoch=epoch, seed=seed, part=part
        ):
            yield {ACTIVATIONS: difference(rows[ACTIVATIONS])}


def difference(activations: np.ndarray) -> np.ndarray:
    """[B, 1, D] float32 IT minus base of stored rows [B, M, D]."""
    rows = as_tensor(activations).float()
    return (rows[:, IT] - rows[:, BASE]).unsqueeze(1).numpy()
