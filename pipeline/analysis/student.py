"""Tail of Student's t distribution, for tests on few blocks of documents."""

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_TERMS = 300
"""Terms of the continued fraction: enough for 12 digits up to 1,024 degrees of freedom."""
SMALLEST = float(np.finfo(np.float64).tiny)


def upper_tail(t: Floats, degrees: Floats) -> Floats:
    """P(T >= t) for T with so many degrees of freedom (> 0, whole or not); NaN stays NaN.

    P(T >= t) = I_x(degrees / 2, 1 / 2) / 2 for t >= 0, x = degrees / (degrees + t^2), with I the
    regularised incomplete beta function. Never 0, so that it can be ranked and its logarithm taken.
    """
    t, degrees = np.broadcast_arrays(np.asarray(t, np.float64), np.asarray(degrees, np.float64))
    known = ~np.isnan(t) & (degrees > 0)
    tail = np.full(t.shape, np.nan)
    if known.any():
        share = _share_beyond(np.abs(t[known]), degrees[known])
        tail[known] = np.where(t[known] >= 0, share / 2, 1 - share / 2)
    return np.maximum(tail, SMALLEST)


def _share_beyond(t: Floats, degrees: Floats) -> Floats:
    """P(|T| >= t) for t >= 0."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        y = np.where(np.isfinite(t), 1 / (1 + degrees / t**2), 1.0)  # 1 - x, exact near 0
    x, a, b = 1 - y, degrees / 2, np.full_like(degrees, 0.5)
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        x = np.where(y < 0.5, x, degrees / t**2 * y)  # exact near 0
        log_front = a * np.log(x) + b * np.log(y) + _log_gamma(a + b)
        front = np.exp(log_front - _log_gamma(a) - _log_gamma(b))
    near = x < (a + 1) / (a + b + 2)
    direct = front * _fraction(np.where(near, a, b), np.where(near, b, a), np.where(near, x, y))
    share = np.where(near, direct / a, 1 - direct / b)
    return np.where(t == 0, 1.0, np.where(np.isfinite(t), share, 0.0))


def _fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """The continued fraction of I_x(a, b), from its first term on (Abramowitz, Stegun 26.5.8)."""
    c, d = np.ones_like(x), 1 / (1 - (a + b) * x / (a + 1))
    total = d.copy()
    for m in range(1, N_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            total *= d * c
    return total


def _log_gamma(x: Floats) -> Floats:
    return torch.lgamma(torch.from_numpy(np.ascontiguousarray(x))).numpy()
