"""The models on a device: the dump against the CPU's, tuning, and equal bits of both."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.dump import BOS, SHAPES, VOCABULARY, Shape, random_model, write_tokens
from benchmarks.gpu_check.checks import Finding, within
from benchmarks.gpu_check.steps import moved_apart, same_bits
from benchmarks.train_step import CPU
from pipeline.config.models import TunedModel
from pipeline.harvest.dump import dump
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sink import Target
from pipeline.models.fitting import fit
from pipeline.store import StoreReader, StoreWriter

DUMPED = replace(SHAPES["tiny"], n_sequences=16, batch_tokens=512)
TUNED = replace(SHAPES["small"], d_model=64, d_mlp=128, n_heads=2, n_key_value_heads=1, d_head=32)
DUMP_LIMIT = {"float32": 1e-3, "bfloat16": 3e-2}
"""Largest norm of the stored rows minus those of the CPU in float32, over the norm of these. Rows
are stored in bfloat16, whatever the models compute in."""
TUNING_LIMIT = 5e-2
"""The same of what the updates add to the weights, in float32."""


def seeded_models(shape: Shape, dtype: torch.dtype) -> list[Any]:
    """Two models of the shape, on the CPU, with the same weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [random_model(shape, torch.float32).to(dtype) for _ in range(2)]  # pyright: ignore[reportArgumentType]


def dump_agrees(device: torch.device) -> Iterator[Finding]:
    """The rows of a Gemma-2 pair in both types, against the CPU in float32, and dumped twice."""
    with TemporaryDirectory() as folder:
        write_tokens(Path(folder) / "tokens.zarr", DUMPED)
        expected = dumped(Path(folder), torch.float32, CPU).float()
        for name, limit in DUMP_LIMIT.items():
            dtype = getattr(torch, name)
            first, second = (dumped(Path(folder), dtype, device) for _ in range(2))
            apart = float((first.float() - expected).norm() / expected.norm())
            yield within(f"dump, {name}", {"difference": apart}, {"difference": limit})
            yield same_bits(f"dump, {name}, run again", {"rows": first}, {"rows": second})


def flex_agrees(device: torch.device) -> Iterator[Finding]:
    """The rows of a Gemma-2 pair with `hook_point.attention=flex_attention`, which is compiled."""
    with TemporaryDirectory() as folder:
        write_tokens(Path(folder) / "tokens.zarr", DUMPED)
        expected = dumped(Path(folder), torch.float32, CPU).float()
        found = dumped(Path(folder), torch.bfloat16, device, "flex_attention").float()
        apart = {"difference": float((found - expected).norm() / expected.norm())}
        limit = {"difference": DUMP_LIMIT["bfloat16"]}
        yield within("dump, bfloat16, flex_attention", apart, limit)


def dumped(
    folder: Path, dtype: torch.dtype, device: torch.device, attention: str = "eager"
) -> Tensor:
    """Rows [n, M, D] of the token store in `folder`, read with models of a type on a device."""
    models = [model.to(device) for model in seeded_models(DUMPED, dtype)]
    for model in models:
        model.set_attn_implementation(attention)
    pair = HookedPair(models, (DUMPED.layer,), DUMPED.d_model, BOS)
    with (
        TemporaryDirectory(dir=folder) as store,
        StoreReader.open(folder / "tokens.zarr") as tokens,
    ):
        dump(
            [Target(lambda layout, _n_rows: StoreWriter.open(Path(store) / "rows.zarr", layout))],
            tokens,
            range(DUMPED.n_sequences),
            pair,
            batch_tokens=DUMPED.batch_tokens,
            rows_per_chunk=512,
            codec="none",
            progress_name="gpu_check",
        )
        with StoreReader.open(Path(store) / "rows.zarr") as reader:
            return torch.from_numpy(reader.read("activations")).view(torch.bfloat16)


def tuning_agrees(device: torch.device) -> Iterator[Finding]:
    """A Llama, whose attention has fused kernels on a card, tuned twice and on the CPU."""
    start, expected = (tuned("fp32", CPU, n_steps) for n_steps in (0, 4))
    for precision in ("fp32", "bf16"):
        first, second = (tuned(precision, device, 4) for _ in range(2))
        if precision == "fp32":
            found = {"difference": moved_apart(first, expected, start)}
            yield within("tuning, fp32", found, {"difference": TUNING_LIMIT})
        yield same_bits(f"tuning, {precision}, run again", first, second)


def tuned(precision: str, device: torch.device, n_steps: int) -> dict[str, Tensor]:
    """Weights on the CPU after some updates; the names of the matrices begin with `W_`."""
    model = seeded_models(replace(TUNED, layer=2), torch.float32)[0].to(device)
    config = TunedModel.model_validate(
        {
            "kind": "tuned",
            "of": "base",
            "lora": None,
            "sources": {"chat": 1.0},
            "n_steps": 4,
            "batch_sequences": 4,
            "micro_batch_sequences": 2,
            "sequence_length_tokens": 256,
            "learning_rate": 1e-3,
            "warmup_fraction": 0.0,
            "weight_decay": 0.1,
            "gradient_clip": 1.0,
            "precision": precision,
            "checkpoint_every_steps": 1000,
            "seed": 7,
        }
    )
    sequences = np.random.default_rng(0).integers(3, VOCABULARY, (16, 256)).astype(np.int32)
    if n_steps:
        with TemporaryDirectory() as folder:
            fit(model, sequences, config, Path(folder) / "unused.pt", progress_name="gpu_check")
    return {f"W_{name}": t.detach().cpu().clone() for name, t in model.state_dict().items()}
