"""Intervals by resampling whole sequences: tokens of one sequence are not independent.

Letters: U units (sequences, or runs of them), R resamples, K sums per unit.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.results import NOT_MEASURED, Measured
from pipeline.runtime import numpy_generator

Floats = NDArray[np.float64]


class Resampled(Protocol):
    """A section of the configuration that asks for intervals."""

    @property
    def n_bootstrap(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def seed(self) -> int: ...


class Bootstrap:
    """The same resamples of U units for every figure, so that differences stay paired."""

    def __init__(
        self, n_units: int, *, n_resamples: int, confidence: float, random: np.random.Generator
    ) -> None:
        shares = np.full(n_units, 1 / n_units)
        self._weights_RU = random.multinomial(n_units, shares, size=n_resamples).astype(np.float64)
        self._tails = ((1 - confidence) / 2, (1 + confidence) / 2)

    @classmethod
    def of(cls, section: Resampled, n_units: int, *stream: str) -> Self:
        """As a section of the configuration asks. stream: name of the random stream."""
        return cls(
            n_units,
            n_resamples=section.n_bootstrap,
            confidence=section.confidence,
            random=numpy_generator(section.seed, *stream),
        )

    def estimate(self, sums_UK: Floats, figure: Callable[[Floats], Floats]) -> Measured:
        """A figure and its percentile interval, None where it is not defined.

        `figure` maps sums over units, [..., K], to the quantity, [...]; it may return NaN.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(figure(sums_UK.sum(axis=0)))
            draws = figure(self._weights_RU @ sums_UK)
        draws = draws[np.isfinite(draws)]
        if not np.isfinite(value) or draws.size == 0:
            return NOT_MEASURED
        low, high = np.quantile(draws, self._tails)
        return {"value": value, "low": float(low), "high": float(high)}

    def ratio(self, numerator_U: Floats, denominator_U: Floats) -> Measured:
        """sum of numerators / sum of denominators."""
        return self.estimate(
            np.stack([numerator_U, denominator_U], axis=1), lambda s: s[..., 0] / s[..., 1]
        )

    def one_minus_ratio(self, numerator_U: Floats, denominator_U: Floats) -> Measured:
        """1 - sum of numerators / sum of denominators, the form of every explained variance."""
        return self.estimate(
            np.stack([numerator_U, denominator_U], axis=1), lambda s: 1 - s[..., 0] / s[..., 1]
        )


def mean_of(values: Iterable[float | None]) -> float | None:
    """Of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
