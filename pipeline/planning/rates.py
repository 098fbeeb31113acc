"""Kinds of work, and what a unit of each takes: on this machine measured (measure.py), on a card by
arithmetic. Letters: B rows of a step, L latents, P = M * D."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from pipeline.artifacts import existing_parent
from pipeline.config import Config
from pipeline.config.crosscoder import BatchTopKConfig, PretrainedConfig, TrainableConfig
from pipeline.labels import MODELS

PROBE_BYTES = 256 * 2**20
TEXT_SECONDS = 1 / 300_000  # of a token: measured nowhere, as texts may lie behind a network

# An H200-class card: products of random matrices and copies as measured on one, operations and
# bytes per second. Nothing else here was measured on a card.
FLOPS = {"fp32": 50e12, "float32": 50e12, "tf32": 395e12, "bf16": 790e12, "bfloat16": 790e12}
MEMORY_RATE, DISK_RATE = 4.3e12, 2e9
# What passes of a model, passes of rows through a dictionary, and gathering rows of weights reach.
MODEL_SHARE, ENCODE_SHARE, GATHER_SHARE = 0.4, 0.6, 0.4
ENTRY_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
# Adam reads weight, gradient and two moments, and writes all but the gradient; the product writes
# the gradient, norms read gradient and decoder again. In bf16 Adam also writes the rounded weight.
WEIGHT_BYTES = {"fp32": 38, "tf32": 38, "bf16": 40}
ENTRY_PASSES = 8  # over [B, L]: the activation, its gradient, sums
LAUNCH_SECONDS = 0.5e-3  # a hundred kernels, while the card has nothing else to do
START_SECONDS = 6.0


@dataclass(frozen=True)
class Work:
    """A number for each kind of work: how many units, or, of `Rates`, seconds that one unit takes.

    start: a process and its libraries; byte: to or from the disk; text: a token, read and packed
    forward, write: a floating-point operation of a language model that reads, or is trained, and of
        one that writes text token by token
    step, diff_step: a row in a training step of the crosscoder, and of the diff-SAE
    encode: an operation of encoding rows, products of rows with dictionaries
    climb: an operation of climbing to directions, products of rows with few of them
    """

    start: float = 0.0
    byte: float = 0.0
    text: float = 0.0
    forward: float = 0.0
    write: float = 0.0
    step: float = 0.0
    diff_step: float = 0.0
    encode: float = 0.0
    climb: float = 0.0


Rates = Work


@dataclass(frozen=True)
class Machine:
    """What this machine has. device: "cpu" or "cuda"; n_processes: that deal rows at the same time,
    one for each card; memory_bytes: of the host"""

    device: str
    device_name: str
    n_processes: int
    disk_bytes_per_second: float
    free_disk_bytes: int
    memory_bytes: int
    device_memory_bytes: int


def look_at_machine(device: str, n_threads: int, data: Path) -> Machine:
    """The machine, with the rate at which the disk under `data` is written."""
    memory, folder = psutil.virtual_memory().total, existing_parent(data)
    card = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return Machine(
        device=device,
        device_name=card.name if card else f"CPU, {n_threads} threads",
        n_processes=torch.cuda.device_count() if card else 1,
        disk_bytes_per_second=write_rate(folder),
        free_disk_bytes=shutil.disk_usage(folder).free,
        memory_bytes=memory,
        device_memory_bytes=card.total_memory if card else memory,
    )


def write_rate(folder: Path) -> float:
    """Bytes per second of a sequential write with fsync."""
    block = os.urandom(2**20) * 16
    n = max(min(PROBE_BYTES, shutil.disk_usage(folder).free // 4) // len(block), 1)
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        file.writelines([block] * n)
        file.flush()
        os.fsync(file.fileno())
        return n * len(block) / (time.perf_counter() - began)


def on_a_card(config: Config, d_model: int) -> Rates:
    """Rates of an H200-class card, by arithmetic."""
    train, trained = config.train, config.crosscoder

    def row(crosscoder: TrainableConfig, n_models: int) -> float:
        k = crosscoder.k if isinstance(crosscoder, BatchTopKConfig) else None
        shape = (train.batch_rows, crosscoder.n_latents, n_models * d_model)
        return step_seconds(*shape, k, train.precision) / train.batch_rows

    model = 1 / (MODEL_SHARE * FLOPS[config.hook_point.dtype])
    return Rates(
        start=START_SECONDS,
        byte=1 / DISK_RATE,
        text=TEXT_SECONDS,
        forward=model,
        write=model,
        step=0.0 if isinstance(trained, PretrainedConfig) else row(trained, len(MODELS)),
        diff_step=row(config.baselines.diff_sae, 1),
        encode=1 / (ENCODE_SHARE * FLOPS["fp32"]),
        # Every number of a row is read from memory for a multiply-add with each start.
        climb=4 / (2 * config.changes.n_starts * MEMORY_RATE),
    )


def step_seconds(
    batch_rows: int, n_latents: int, width: int, k: int | None, precision: str
) -> float:
    """A training step on a card: a product to encode and four over the active pairs, dense or
    gathered, whichever is faster; passes over weights and activations; launches.

    width: P; k: latents kept per row by BatchTopK. Other variants are priced as if all were active.
    """
    product = 2.0 * batch_rows * n_latents * width / FLOPS[precision]
    at_pairs, entry = product, ENTRY_BYTES[precision]
    if k is not None:
        gathered = float(batch_rows) * k * width * entry
        at_pairs = min(product, gathered / (GATHER_SHARE * MEMORY_RATE))
    passed = 2.0 * n_latents * width * WEIGHT_BYTES[precision]
    passed += float(batch_rows) * n_latents * ENTRY_PASSES * entry
    return product + 4 * at_pairs + passed / MEMORY_RATE + LAUNCH_SECONDS
