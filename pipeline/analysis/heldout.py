"""One pass over held-out activation rows: which latents fire, and how well rows are rebuilt.

Letters: B rows, M models (base, IT), D d_model, L latents, C cells (see `cells`), U units (whole
sequences, or runs of them, for intervals), K series (base, IT, their difference).
"""

from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.crosscoder import Crosscoder
from pipeline.progress import Progress
from pipeline.store import StoreReader

MAX_UNITS = 256

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def spread_blocks(n_total: int, n_rows: int, block_rows: int) -> list[tuple[int, int]]:
    """Row ranges of at most `block_rows`, spread evenly over [0, n_total), `n_rows` in all.

    Every row where n_rows >= n_total. Ranges are disjoint and in order.
    """
    if n_rows >= n_total:
        return [(at, min(at + block_rows, n_total)) for at in range(0, n_total, block_rows)]
    n_blocks = -(-n_rows // block_rows)
    sizes = [n_rows // n_blocks + (i < n_rows % n_blocks) for i in range(n_blocks)]
    taken = accumulate(sizes, initial=0)
    skipped = (i * (n_total - n_rows) // n_blocks for i in range(n_blocks))
    starts = [before + gap for gap, before in zip(skipped, taken, strict=False)]
    return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def as_float(activations: NDArray[np.generic], device: torch.device) -> Tensor:
    """bfloat16 bits (uint16) or float rows as a float32 tensor on `device`."""
    rows = torch.from_numpy(np.ascontiguousarray(activations))
    if rows.dtype == torch.uint16:
        rows = rows.view(torch.bfloat16)
    return rows.to(device).float()


def spread_rows(reader: StoreReader, n_rows: int, block_rows: int, device: torch.device) -> Tensor:
    """[n_rows, M, D] rows spread over the store in blocks, all of them in memory."""
    blocks = spread_blocks(reader.n_rows, n_rows, block_rows)
    return torch.cat([as_float(reader.read("activations", *block), device) for block in blocks])


@torch.inference_mode()
def firing_counts(
    crosscoder: Crosscoder, reader: StoreReader, *, n_rows: int, batch_rows: int, name: str
) -> tuple[Ints, int]:
    """[L] rows in which each latent is active, and the number of rows (tokens) looked at.

    name: of the progress line and log
    """
    device = crosscoder.W_dec.device
    counts = torch.zeros(crosscoder.n_latents, dtype=torch.int64, device=device)
    blocks = spread_blocks(reader.n_rows, n_rows, batch_rows)
    n_seen = sum(stop - start for start, stop in blocks)
    with Progress(name, total=n_seen, unit="rows") as progress:
        for start, stop in blocks:
            x = as_float(reader.read("activations", start, stop), device)
            counts += (crosscoder.encode(crosscoder.normalise(x)) > 0).sum(dim=0)
            progress.advance(stop - start)
    return counts.cpu().numpy(), n_seen


class Units:
    """Numbers the sequences in the order met; `width` sequences make one unit."""

    def __init__(self, n_sequences: int) -> None:
        self._width = -(-n_sequences // MAX_UNITS)
        self._first: dict[int, int] = {}

    def of(self, sequence_B: NDArray[np.generic]) -> Ints:
        values, inverse = np.unique(sequence_B, return_inverse=True)
        numbers = [self._first.setdefault(int(v), len(self._first)) for v in values]
        return np.minimum(np.array(numbers)[inverse] // self._width, MAX_UNITS - 1)
