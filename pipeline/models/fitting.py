"""Fit a language model to packed sequences: next-token cross-entropy, AdamW, linear decay.

The weights are a pure function of the configuration, the sequences and the initial weights (on one
machine with one thread count), whether or not the run was killed on the way.

Letters: B sequences, S positions, V vocabulary.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.artifacts import clear_space_errors, sync
from pipeline.config.models import TrainingConfig
from pipeline.errors import NonFiniteError
from pipeline.models.sequences import Sequences
from pipeline.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BETAS = (0.9, 0.95)


def fit(
    model: PreTrainedModel,
    sequences: Sequences,
    config: TrainingConfig,
    checkpoint: Path,
    *,
    progress_name: str,
) -> None:
    """Train `model` in place on `sequences` [n_steps * B, S], resuming from `checkpoint`: the
    parameters that ask for gradients, or all where none does.

    Raises NonFiniteError, before the update, where a loss or gradient is not finite.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        model.requires_grad_(True)
    model.train()
    model.config.use_cache = False
    optimizer = new_optimizer(model, config)
    first_step = load_checkpoint(checkpoint, model, optimizer)
    tokens_per_step = config.batch_sequences * config.sequence_length_tokens
    with Progress(
        progress_name,
        total=config.n_steps * tokens_per_step,
        unit="tokens",
        start=first_step * tokens_per_step,
    ) as progress:
        for step in range(first_step, config.n_steps):
            start = step * config.batch_sequences
            batch = np.array(sequences[start : start + config.batch_sequences])
            with reproducible_attention(model.device):
                loss = update(model, optimizer, torch.from_numpy(batch), config, step)
            progress.advance(tokens_per_step, loss=loss)
            done = step + 1
            if done % config.checkpoint_every_steps == 0 and done < config.n_steps:
                save_checkpoint(checkpoint, done, model, optimizer)
    model.requires_grad_(False).eval()


def reproducible_attention(device: torch.device) -> AbstractContextManager[object]:
    """While this is open, attention gives the same gradients every time, on a GPU too.

    There the fused attention kernels add up gradients in whatever order their blocks end, unless
    PyTorch is told to fail at the first operation that has no reproducible form
    (https://github.com/pytorch/pytorch/issues/182551). The plain form is products alone.
    """
    if device.type == "cpu":
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def new_optimizer(model: PreTrainedModel, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over what is trained, with weight decay on matrices only."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2]
    vectors = [p for p in trained if p.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=BETAS,
        fused=True,
    )


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear from 0 over the warm-up, then linear to 0 at `n_steps`; never 0 in a step taken."""
    n_warmup = round(config.warmup_fraction * config.n_steps)
    if step < n_warmup:
        return config.learning_rate * (step + 1) / (n_warmup + 1)
    return config.learning_rate * (config.n_steps - step) / (config.n_steps - n_warmup)


def update(
    model: PreTrainedModel,
    optimizer: torch.optim.AdamW,
    token_ids: Tensor,
    config: TrainingConfig,
    step: int,
) -> float:
    """One optimiser step on token_ids [B, S]; returns the mean loss in nats per token."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    parts = token_ids.split(config.micro_batch_sequences)
    total = 0.0
    for part in parts:
        loss = next_token_loss(model, part.to(model.device), config.precision) / len(parts)
        loss.backward()
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    if not (np.isfinite(total) and torch.isfinite(norm)):
        raise NonFiniteError(
            f"step {step}: loss {total:g}, gradient norm {norm.item():g}, expected finite values: "
            f"lower learning_rate ({config.learning_rate:g}) or use precision fp32"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def next_token_loss(model: PreTrainedModel, token_ids: Tensor, precision: str) -> Tensor:
    """Mean cross-entropy of token_ids [B, S] from the second token on, in nats per token."""
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(input_ids=token_ids, use_cache=False).logits
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), token_ids[:, 1:].flatten().long()
    )


@torch.no_grad()
def heldout_loss(
    model: PreTrainedModel, sequences: Sequences, precision: str, batch_sequences: int
) -> float:
    """Mean next-token cross-entropy over `sequences` [N, S], in nats per token."""
    total = 0.0
    for start in range(0, len(sequences), batch_sequences):
        batch = torch.from_numpy(np.array(sequences[start : start + batch_sequences]))
        total += next_token_loss(model, batch.to(model.device), precision).item() * len(batch)
    return total / len(sequences)


def save_checkpoint(
    path: Path, step: int, model: PreTrainedModel, optimizer: torch.optim.AdamW
) -> None:
    """Write weights, optimiser and the number of steps done, atomically; one file is kept."""
    partial = path.with_suffix(".partial")
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    with clear_space_errors(path):
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync(path.parent)


def load_checkpoint(path: Path, model: PreTrainedModel, optimizer: torch.optim.AdamW) -> int:
    """Restore what `save_checkpoint` wrote; the number of steps done, 0 without a checkpoint."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location=model.device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]
