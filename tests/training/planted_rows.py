"""Activation rows with planted latents, and an in-memory stand-in for a store's reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from pipeline.config.crosscoder import TrainableConfig, TrainConfig
from pipeline.store.batches import WHOLE, Allocate, Part
from pipeline.training.training import Training

D_MODEL, N_PLANTED = 16, 24


@dataclass
class MemorySource:
    """Rows in memory behind the reader's interface; keeps what it served."""

    activations: np.ndarray

    def __post_init__(self) -> None:
        self.served: list[tuple[int, int]] = []

    @property
    def n_rows(self) -> int:
        return len(self.activations)

    def batches(
        self,
        batch_rows: int,
        start_row: int = 0,
        stop_row: int | None = None,
        *,
        epoch: int = 0,
        seed: int = 0,
        keep: int = 1,
        allocate: Allocate = np.empty,
        part: Part = WHOLE,
    ) -> Iterator[dict[str, Any]]:
        stop_row = self.n_rows if stop_row is None else stop_row
        shape = (batch_rows, *self.activations.shape[1:])
        buffers = [allocate(shape, self.activations.dtype) for _ in range(keep)]
        order = np.random.default_rng([seed, epoch]).permutation(self.n_rows)
        activations = self.activations if epoch == 0 else self.activations[order]
        for i, start in enumerate(range(start_row, stop_row, batch_rows)):
            stop, buffer = min(start + batch_rows, stop_row), buffers[i % keep]
            self.served.append((start, stop))
            buffer[: stop - start] = activations[start:stop]
            rows = part(stop - start)
            yield {"activations": buffer[rows.start : rows.stop]}


def planted_rows(n_rows: int, *, n_models: int = 2, seed: int = 0) -> np.ndarray:
    """Sparse sums of N_PLANTED random directions [n_rows, M, D], bfloat16 bits as uint16."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(N_PLANTED, n_models, D_MODEL, generator=generator)
    directions *= torch.tensor([3.0, 5.0, 4.0][:n_models])[:, None]
    latents = torch.relu(torch.randn(n_rows, N_PLANTED, generator=generator) - 1.3)
    rows = torch.einsum("nk,kmd->nmd", latents, directions)
    rows += 0.05 * torch.randn(rows.shape, generator=generator) + 0.5
    return rows.bfloat16().view(torch.uint16).numpy()


def crosscoder_config(kind: str, **changes: Any) -> TrainableConfig:
    """A small configuration of the named variant."""
    values: dict[str, Any] = {
        "kind": kind,
        "n_latents": 40,
        "decoder_init_norm": 0.3,
        "decoder_init_shared": False,
        "decoder_bias_init": "zero",
        "seed": 3,
    }
    penalty = {"sparsity_coefficient": 0.4, "sparsity_warmup_fraction": 0.25}
    own: dict[str, dict[str, Any]] = {
        "l1": penalty,
        "dsf": {**penalty, "n_shared_latents": 16, "shared_penalty_ratio": 0.15},
        "jumprelu": {
            **penalty,
            "threshold_init": 0.2,
            "threshold_learning_rate_ratio": 10.0,
            "bandwidth": 0.4,
        },
        "batch_topk": {
            "k": 3,
            "k_start": 8,
            "k_anneal_fraction": 0.5,
            "threshold": "calibrated",
            "threshold_momentum": 0.9,
            "calibration_rows": 300,
            "reconstruction": "squared",
            "auxk_coefficient": 0.03125,
            "k_aux": 5,
        },
    }
    return TypeAdapter(TrainableConfig).validate_python({**values, **own[kind], **changes})


def train_config(**changes: Any) -> TrainConfig:
    """A small training configuration."""
    values: dict[str, Any] = {
        "batch_rows": 64,
        "n_rows": None,
        "learning_rate": 3e-3,
        "lr_warmup_steps": 2,
        "lr_decay_fraction": 0.2,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "gradient_clip": 1.0,
        "precision": "fp32",
        "normalisation_rows": None,
        "dead_after_rows": 200,
        "seed": 11,
        "log_every_steps": 5,
        "checkpoint_every_steps": 7,
    }
    return TrainConfig(**{**values, **changes})


N_ROWS = 1500
ROWS = planted_rows(N_ROWS)
HELDOUT = planted_rows(400, seed=1)


def make_training(
    folder: Path, kind: str = "l1", rows: np.ndarray = ROWS, **changes: object
) -> Training:
    return Training(
        crosscoder=crosscoder_config(kind),
        train=train_config(**changes),
        source=MemorySource(rows),
        heldout=MemorySource(HELDOUT),
        folder=folder,
        device=torch.device("cpu"),
    )
