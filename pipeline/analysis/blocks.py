"""How sure a figure is: tests over blocks of documents, false discovery rates over tests, and what
the models write, compared without the noise of the estimate.

A claim that a sum of z_g over blocks g lies above 0 is tested by the jackknife. Documents are what
repeats independently, rows do not. With weights S_g, T = sum z / sum S and h_g = S_g / sum S,

    t = T sum S / sqrt(sum_g ((z_g - T S_g) / (1 - h_g))^2)

is compared with Student's t of (sum S^2)^2 / sum S^4 - 1 degrees of freedom, the effective number
of blocks less one: what rests on few documents needs a larger t (Bell and McCaffrey 2002, "Bias
reduction in standard errors for linear regression with multi-stage samples").

u_m = sum_t f_t y_m,t / sum_t f_t^2 is the least-squares vector of model m's rows y on activity f.
Its square carries the noise of its estimate, so |u|^2 comes out too large and a cosine too small.
Products of two halves of the blocks do not: noise of one half meets none of the other. With P_mn =
<u_m of one half, u_n of the other>,

    cosine = P_base,it / sqrt(P_base,base P_it,it),    strength = sqrt(P_it,it / P_base,base)

Letters: G blocks of documents, M models (base, IT), L latents (or whatever is tested side by side).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
SMALLEST_P = float(np.finfo(np.float64).tiny)
SMALLEST_NORM = 1e-4
"""Of |u_it|^2 or |u_base|^2 over the other, below which a norm is noise: strength 0.01 to 100."""


def both_tails(t: Floats, degrees: Floats) -> tuple[Floats, Floats]:
    """P(T >= t) and P(T <= t), each exact where it is small."""
    tail = upper_tail(np.abs(t), degrees)
    upper, lower = (np.where(sign * t >= 0, tail, 1 - tail) for sign in (1, -1))
    return upper, lower


def upper_tail(t: Floats, degrees: Floats) -> Floats:
    """P(T >= t) of Student's t; never 0, so that it can be ranked; NaN without a degree."""
    return np.maximum(special.stdtr(degrees, -t), SMALLEST_P)


def effective_number(square_GL: Floats) -> Floats:
    """[L] (sum S^2)^2 / sum S^4: the number of blocks where all weigh alike, 1 where one does."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share_GL = square_GL / square_GL.max(axis=0)
        return (share_GL**2).sum(axis=0) ** 2 / (share_GL**4).sum(axis=0)


def t_statistic(z_G: Floats, square_G: Floats) -> Floats:
    """sum z over the jackknife's standard error; blocks are the first axis. NaN for one block."""
    total = square_G.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = z_G.sum(axis=0) / total
        residual_G = (z_G - mean * square_G) / (1 - square_G / total)
        return mean * total / np.sqrt((residual_G**2).sum(axis=0))


def jackknife_error(left_out_GL: Floats) -> Floats:
    """[L] standard error of a figure, of its values with each block left out."""
    return np.sqrt((len(left_out_GL) - 1) * np.var(left_out_GL, axis=0))


def false_discovery_rate(p_L: Floats) -> Floats:
    """[L] Benjamini-Hochberg adjusted p-values; NaN stays NaN and is no test."""
    q = np.full(p_L.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p_L))
    order = known[np.argsort(p_L[known], kind="stable")]
    ranked = p_L[order] * order.size / np.arange(1, order.size + 1)
    q[order] = np.minimum.accumulate(ranked[::-1])[::-1].clip(max=1.0)
    return q


def compared(product_LMM: Floats) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
    """Cosine, which noise can carry beyond 1, and ln strength [L]; and |u_base|^2, |u_it|^2."""
    base, it = product_LMM[:, 0, 0], product_LMM[:, 1, 1]
    base, it = (
        np.maximum(own, np.maximum(SMALLEST_NORM * other, 1e-30))
        for own, other in ((base, it), (it, base))
    )
    across = (product_LMM[:, 0, 1] + product_LMM[:, 1, 0]) / 2
    return across / np.sqrt(base * it), np.log(it / base) / 2, (base, it)
