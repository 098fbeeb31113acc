"""Batches of sequences run through both models, one ahead of whoever takes their rows.

Letters: R rows, M models, D d_model, K layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import NonFiniteError
from pipeline.harvest.census import rows_of
from pipeline.harvest.pair import HookedPair, PairedForward, Rows
from pipeline.harvest.sequences import Sequences, token_batches
from pipeline.labels import MODELS
from pipeline.store import StoreReader

EXPONENT_BITS = 0x7F80  # all set: infinity or NaN in bfloat16
PER_TOKEN = ("token_id", "document", "source", "token_class")


@dataclass(frozen=True)
class Harvested:
    """A batch on its way: its rows at each layer [K], and the per-row arrays that go with them."""

    rows: tuple[Rows, ...]
    labels: dict[str, NDArray[np.generic]]
    pair: HookedPair
    sources: Sequence[str]

    def bits(self, k: int) -> NDArray[np.uint16]:
        """Wait for the rows of layer number `k`; bfloat16 bits [R, M, D], not copied again.

        Raises NonFiniteError where an activation is infinite or NaN.
        """
        activations = self.rows[k].ready()
        if not self.rows[k].finite():
            raise NonFiniteError(self._non_finite(activations, self.pair.layers[k]))
        return activations

    def _non_finite(self, activations: NDArray[np.uint16], layer: int) -> str:
        is_bad = (activations & EXPONENT_BITS) == EXPONENT_BITS
        row, model, _ = (int(index[0]) for index in np.nonzero(is_bad))
        where = {name: int(array[row]) for name, array in self.labels.items()}
        name = MODELS[model] if model < len(MODELS) else str(model)
        return (
            f"models.{name} gives {int(is_bad[row, model].sum())} activations that are not finite "
            f"at hook_point.layer {layer}, in sequence {where['sequence']} of the token store, "
            f"position {where['position']} (source {self.sources[where['source']]}, document "
            f"{where['document']}): use hook_point.dtype=float32, hook_point.attention=eager, "
            "or check the model's weights"
        )


def harvest(
    tokens: StoreReader, sequences: Sequences, pair: HookedPair, batch_sequences: int
) -> Iterator[Harvested]:
    """Batches of `sequences` in order, one ahead: the next is computing while one is handed out."""
    length = tokens.layout["token_id"].shape[0]
    forward = PairedForward(pair, batch_sequences * length)
    waiting: Harvested | None = None
    n_done = 0
    for batch in token_batches(tokens, sequences, batch_sequences, PER_TOKEN):
        is_row = rows_of(batch["token_id"], pair.start_id)
        numbers = np.asarray(sequences[n_done : n_done + len(is_row)], np.int32)
        ahead = Harvested(
            forward(batch["token_id"], is_row),
            _labels(batch, is_row, numbers),
            pair,
            tokens.layout.sources,
        )
        n_done += len(is_row)
        if waiting is not None:
            yield waiting
        waiting = ahead
    if waiting is not None:
        yield waiting


def _labels(
    batch: dict[str, np.ndarray], is_row: NDArray[np.bool_], numbers: NDArray[np.int32]
) -> dict[str, NDArray[np.generic]]:
    """Per-row arrays of a batch of the sequences that have these numbers in the token store."""
    sequence, position = np.nonzero(is_row)
    return {
        **{name: batch[name][is_row] for name in PER_TOKEN},
        "sequence": numbers[sequence],
        "position": position.astype(np.int32),
    }
