"""Small held-out stores and crosscoders to test against."""

from pathlib import Path

import numpy as np
import torch

from pipeline.crosscoder import Crosscoder
from pipeline.store import StoreReader, StoreWriter, activation_layout


def random_crosscoder(n_latents: int = 12, d_model: int = 5, seed: int = 0) -> Crosscoder:
    """A ReLU crosscoder with random weights and unequal normalisation factors."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    return Crosscoder.from_weights(
        kind="l1",
        W_enc=normal(2, d_model, n_latents),
        W_dec=normal(n_latents, 2, d_model) * 0.3,
        b_enc=normal(n_latents) - 1.0,
        b_dec=normal(2, d_model) * 0.1,
        activation_scale=torch.tensor([0.5, 1.7]),
    )


def heldout_store(
    path: Path, rows: torch.Tensor, tokens_per_sequence: int = 10, rows_per_chunk: int | None = None
) -> StoreReader:
    """A sealed store of raw rows [N, 2, D] in a few chunks; odd sequences are chats, every third
    token template."""
    n, n_models, d_model = rows.shape
    rows_per_chunk = rows_per_chunk or max(16, n // 8)
    at = np.arange(n)
    sequence = (at // tokens_per_sequence).astype(np.int32)
    layout = activation_layout(n_models, d_model, rows_per_chunk, sources=("pile", "chat"))
    with StoreWriter.open(path, layout) as writer:
        writer.append(
            {
                "activations": rows.bfloat16().view(torch.uint16).numpy(),
                "source": (sequence % 2).astype(np.uint8),
                "token_id": at.astype(np.int32),
                "sequence": sequence,
                "position": (at % tokens_per_sequence + 1).astype(np.int32),
                "document": sequence,
                "token_class": (at % 3 == 0).astype(np.uint8),
            }
        )
        writer.finish()
    return StoreReader.open(path)
