"""Planted rows on their way to a store: features added, pairs undone, in bfloat16."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.plant.features import Features

Labels = dict[str, NDArray[np.generic]]
Bits = NDArray[np.uint16]
Change = Callable[[Bits, Labels], Bits]
"""bfloat16 bits [B, M, D] and their labels to the rows to store."""


def to_float(bits: Bits) -> NDArray[np.float32]:
    return torch.from_numpy(bits).view(torch.bfloat16).float().numpy()


def to_bits(rows: NDArray[np.floating]) -> Bits:
    return torch.from_numpy(rows).bfloat16().view(torch.uint16).numpy()


@dataclass(frozen=True)
class Plant:
    """Adds the features to rows. unit: norm that a strength of 1 stands for, in the rows' units."""

    features: Features
    unit: float

    def __call__(self, bits: Bits, labels: Labels) -> Bits:
        return to_bits(self.added(to_float(bits), labels))

    def added(self, rows: NDArray[np.float32], labels: Labels) -> NDArray[np.float32]:
        """rows [B, M, D] with the features; changes them in place."""
        g = self.features.activations(*(as_ints(labels, n) for n in FIRING_LABELS))
        rows += np.float32(self.unit) * self.features.contributions(g, as_ints(labels, "source"))
        return rows


FIRING_LABELS = ("document", "sequence", "position")


def as_ints(labels: Labels, name: str) -> NDArray[np.int64]:
    return labels[name].astype(np.int64)


def spread_norm(rows_BMD: NDArray[np.float32]) -> float:
    """Typical norm of a row about its model's mean: the median over rows, the mean over models."""
    centred = rows_BMD - rows_BMD.mean(axis=0)
    return float(np.median(np.linalg.norm(centred, axis=2), axis=0).mean())


def in_turn(*changes: Change | None) -> Change:
    """One change after the other; None is no change."""

    def change(bits: Bits, labels: Labels) -> Bits:
        for each in changes:
            bits = bits if each is None else each(bits, labels)
        return bits

    return change
