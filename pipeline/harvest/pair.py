"""Paired activations of one batch of sequences: both models to the hook point, the start left out.

On a GPU the host queues a batch without waiting for the card: rows are gathered in bfloat16 there
and copied to page-locked memory on a second stream, while the card goes on with the next batch.
`Rows.ready` is the one place that waits.

Letters: B sequences, S positions, R rows (tokens but the start), M models, D d_model, K layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.models import HookPointConfig
from pipeline.labels import MODELS
from pipeline.models.hook import residuals
from pipeline.models.load import load_model
from pipeline.models.pair import check_layer, check_width
from pipeline.models.records import read_records
from pipeline.models.start import read_start

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class HookedPair:
    """Both models, cut off at the last of the `layers` that are read, which rise; and the id of the
    token that every sequence starts with and that gives no row, None where nothing is put in front.
    """

    models: Sequence[PreTrainedModel]
    layers: tuple[int, ...]
    d_model: int
    start_id: int | None


def load_pair(
    models_dir: Path, hook_point: HookPointConfig, device: torch.device, layers: tuple[int, ...]
) -> HookedPair:
    """Both models of `data/models/` up to the last of these layers. ModelError where one is
    shallower."""
    records = read_records(models_dir)
    check_width(records)
    for name in MODELS:
        check_layer(name, records[name].n_layers, layers[-1])
    models = [
        load_model(
            models_dir,
            name,
            dtype=hook_point.dtype,
            attention=hook_point.attention,
            device=device,
            n_layers=layers[-1],
        )
        for name in MODELS
    ]
    start_id = read_start(models_dir).id
    return HookedPair(models, layers, records["base"].d_model, start_id)


@dataclass(frozen=True)
class Rows:
    """Rows on their way to the host. Read them after `ready()`.

    activations: bfloat16 [R, M, D]; extremes: their minimum and maximum, NaN if any is NaN
    copied: the event that marks the end of the copy, None on the CPU
    """

    activations: Tensor
    extremes: Tensor
    copied: torch.cuda.Event | None

    def ready(self) -> NDArray[np.uint16]:
        """Wait for the copy; the rows as bfloat16 bits [R, M, D], not copied again."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.activations.view(torch.uint16).numpy()

    def finite(self) -> bool:
        """Whether every activation is finite. Ask after `ready()`."""
        return bool(torch.isfinite(self.extremes).all())


class PairedForward:
    """Runs the models on batches into reused host buffers, one for each layer; a batch's rows stay
    until the second batch after it."""

    N_BUFFERS = 2

    def __init__(self, pair: HookedPair, max_rows: int) -> None:
        self.pair = pair
        self.device = pair.models[0].device
        self.on_gpu = self.device.type == "cuda"
        self.copy_stream = torch.cuda.Stream(self.device) if self.on_gpu else None
        shape = (max_rows, len(pair.models), pair.d_model)
        self._buffers = [
            [
                (
                    torch.empty(shape, dtype=torch.bfloat16, pin_memory=self.on_gpu),
                    torch.empty(2, dtype=torch.bfloat16, pin_memory=self.on_gpu),
                )
                for _ in pair.layers
            ]
            for _ in range(self.N_BUFFERS)
        ]
        self._n_batches = 0

    def __call__(self, token_ids: NDArray[np.int32], is_row: NDArray[np.bool_]) -> tuple[Rows, ...]:
        """Rows of token_ids [B, S] where is_row [B, S] is true, in order; of each layer [K]."""
        buffers = self._buffers[self._n_batches % self.N_BUFFERS]
        self._n_batches += 1
        kept = np.flatnonzero(is_row)
        rows = self._to_device(torch.from_numpy(kept))
        ids = self._to_device(torch.from_numpy(token_ids.astype(np.int64)))
        hosts = [activations[: len(kept)] for activations, _ in buffers]
        targets = [torch.empty_like(h, device=self.device) if self.on_gpu else h for h in hosts]
        for index, model in enumerate(self.pair.models):
            streams = residuals(model, self.pair.layers, ids)
            for target, hidden in zip(targets, streams, strict=True):
                target[:, index] = hidden.flatten(0, 1)[rows]
        return tuple(
            self._handed_out(target, host, extremes)
            for target, host, (_, extremes) in zip(targets, hosts, buffers, strict=True)
        )

    def _handed_out(self, target: Tensor, activations: Tensor, extremes: Tensor) -> Rows:
        found = torch.stack(torch.aminmax(target)) if len(target) else target.new_zeros(2)
        if self.copy_stream is None:
            extremes.copy_(found)
            return Rows(activations, extremes, None)
        return self._to_host(target, activations, found, extremes)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.on_gpu else tensor

    def _to_host(
        self, target: Tensor, activations: Tensor, found: Tensor, extremes: Tensor
    ) -> Rows:
        assert self.copy_stream is not None
        self.copy_stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.copy_stream):
            activations.copy_(target, non_blocking=True)
            extremes.copy_(found, non_blocking=True)
            for tensor in (target, found):
                tensor.record_stream(self.copy_stream)
            copied = torch.cuda.Event()
            copied.record(self.copy_stream)
        return Rows(activations, extremes, copied)
