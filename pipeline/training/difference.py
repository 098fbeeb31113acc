"""A dictionary of the difference itself: the store as one model, of rows h_it - h_base.

Letters: B rows, M models (base, IT), D d_model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.causal import BaselinesConfig
from pipeline.config.crosscoder import BatchTopKConfig, TrainConfig
from pipeline.store.batches import WHOLE, Allocate, Part
from pipeline.store.chunkfile import aligned_empty
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
        keep: int = 1,  # noqa: ARG002 - what is handed out is new memory
        allocate: Allocate = aligned_empty,  # noqa: ARG002
        part: Part = WHOLE,
    ) -> Iterator[dict[str, Any]]:
        for rows in self.source.batches(
            batch_rows, start_row, stop_row, epoch=epoch, seed=seed, part=part
        ):
            yield {ACTIVATIONS: difference(rows[ACTIVATIONS])}


def diff_sae_config(section: BaselinesConfig, l0: float) -> BatchTopKConfig:
    """The dictionary's configuration; where `match_l0` asks for it, k is the crosscoder's held-out
    L0, so that both explain the difference with as many latents a row."""
    sae = section.diff_sae
    if not section.match_l0:
        return sae
    k = min(max(1, round(l0)), sae.n_latents)
    return sae.model_copy(update={"k": k, "k_start": k, "k_anneal_fraction": 0.0})


def trained_as(section: BaselinesConfig, train: TrainConfig) -> TrainConfig:
    """The crosscoder's own training section, with the baseline's rows and learning rate."""
    n_rows = section.n_train_rows or train.n_rows
    update = {"n_rows": n_rows, "learning_rate": section.learning_rate}
    return train.model_copy(update=update)


def difference(activations: np.ndarray) -> np.ndarray:
    """[B, 1, D] float32 IT minus base of stored rows [B, M, D]."""
    rows = as_tensor(activations).float()
    return (rows[:, IT] - rows[:, BASE]).unsqueeze(1).numpy()
