"""Outlier rows: rows whose norm in either model exceeds a multiple of that model's median.

Some tokens beside the start are attention sinks with a hundred times the usual norm (the first
tokens of Qwen's sequences). A few of them decide normalisation factors and explained variance, and
what happens there has little to do with the text. `dump.max_norm_ratio` leaves them out. The median
is fixed before any row is stored, on a sample of training sequences, and is the same for both
splits.

Letters: R rows, M models, D d_model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.harvest.batches import harvest
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sequences import Sequences
from pipeline.labels import MODELS
from pipeline.runtime import generator
from pipeline.store import StoreReader


@dataclass(frozen=True)
class NormLimits:
    """ratio: `dump.max_norm_ratio`; median_M: of the norms of each model's rows in the sample, in
    the units of its activations; n_rows: of the sample."""

    ratio: float
    median_M: tuple[float, ...]
    n_rows: int

    def beyond(self, bits: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """[R, M] whether a row's norm in a model exceeds that model's limit. bits: bfloat16
        [R, M, D]"""
        return row_norms(bits) > np.array([self.ratio * median for median in self.median_M])

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest says of them."""
        named = dict(zip(MODELS, self.median_M, strict=True))
        return {
            "max_norm_ratio": self.ratio,
            "median_norm": named,
            "norm_limit": {name: self.ratio * median for name, median in named.items()},
            "n_sample_rows": self.n_rows,
        }


def left_out(path: Path, counts: Mapping[str, int], limits: NormLimits | None) -> list[str]:
    """What the last line of the dump says of the rows left out of the store at `path`; nothing
    where all are kept."""
    if limits is None:
        return []
    n, n_all = counts["n_outliers"], counts["n_outliers"] + counts["n_rows"]
    norms = " and ".join(f"{x:.4g} in {name}" for name, x in limits.facts["norm_limit"].items())
    share = n / max(1, n_all)
    return [f"left {n:,} of {n_all:,} rows ({share:.2%}) out of {path}, of norms above {norms}"]


def row_norms(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """[R, M] norms of bfloat16 rows [R, M, D]."""
    rows = torch.from_numpy(bits).view(torch.bfloat16).float()
    return torch.linalg.vector_norm(rows, dim=2).numpy()


def sample_sequences(n_train: int, n_sampled: int, seed: int) -> NDArray[np.int64]:
    """At most `n_sampled` of the first `n_train` sequences, drawn without replacement, rising."""
    drawn = torch.randperm(n_train, generator=generator(seed, "norm_sample"))
    return np.sort(drawn[:n_sampled].numpy())


def measure_limits(
    tokens: StoreReader,
    sequences: Sequences,
    pair: HookedPair,
    *,
    batch_sequences: int,
    ratio: float,
) -> Sequence[NormLimits]:
    """The limits at each layer of the pair, by the rows of these sequences."""
    norms_K = [list[NDArray[np.float32]]() for _ in pair.layers]
    for batch in harvest(tokens, sequences, pair, batch_sequences):
        for norms, k in zip(norms_K, range(len(pair.layers)), strict=True):
            norms.append(row_norms(batch.bits(k)))
    norm_KRM = np.array([np.concatenate(norms) for norms in norms_K], np.float64)
    median_KM = np.median(norm_KRM, axis=1).tolist()
    return [NormLimits(ratio, tuple(median_M), norm_KRM.shape[1]) for median_M in median_KM]
