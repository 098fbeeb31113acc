"""How often and how strongly latents fire, by cell, while rows stream by.

Letters: B rows, J latents, C cells (source x token class), H bins of a histogram.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.groups import Cells
from pipeline.distributed import Ranks

N_BINS = 32
SMALLEST_EXPONENT = -40

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Activity:
    """Exact histograms of the active values of each latent, per cell, in one pass.

    A latent's bins are `width_J` wide, a power of two that doubles (pairs of bins merge) until its
    largest value fits: between half and all of the H bins are in use. n_C: rows seen per cell.
    """

    def __init__(self, n_latents: int, cells: Cells) -> None:
        self.cells = cells
        self.count_JCH: Ints = np.zeros((n_latents, cells.n, N_BINS), np.int64)
        self.n_C: Ints = np.zeros(cells.n, np.int64)
        self._exponent = np.full(n_latents, SMALLEST_EXPONENT)

    @property
    def width_J(self) -> Floats:
        return np.ldexp(1.0, self._exponent)

    @property
    def n_active_JC(self) -> Ints:
        return self.count_JCH.sum(axis=2)

    def see(self, f_BJ: Tensor, cell_B: Ints) -> None:
        """Count the active values of a batch."""
        self.n_C += np.bincount(cell_B, minlength=self.cells.n)
        active = f_BJ > 0
        row, latent = (index.cpu().numpy() for index in active.nonzero(as_tuple=True))
        value = f_BJ[active].double().cpu().numpy()
        # frexp: largest = m 2^e with m < 1, so that bins of 2^e / H hold it.
        largest_J = f_BJ.amax(dim=0).double().cpu().numpy()
        self._widen(np.frexp(largest_J)[1] - int(np.log2(N_BINS)))
        bin_of = (value / self.width_J[latent]).astype(np.int64)
        flat = (latent * self.cells.n + cell_B[row]) * N_BINS + bin_of
        counts = np.bincount(flat, minlength=self.count_JCH.size)
        self.count_JCH += counts.reshape(self.count_JCH.shape)

    def merge(self, ranks: Ranks) -> None:
        """Count what all processes saw."""
        seen = ranks.everyones([(self._exponent, self.count_JCH, self.n_C)])
        exponents, counts, rows = zip(*seen, strict=True)
        widest, total = np.max(exponents, axis=0), Activity(len(self._exponent), self.cells)
        for exponent, count_JCH in zip(exponents, counts, strict=True):
            own = Activity(len(exponent), self.cells)
            own._exponent, own.count_JCH = exponent, count_JCH
            own._widen(widest)
            total.count_JCH += own.count_JCH
        self._exponent, self.count_JCH, self.n_C = widest, total.count_JCH, np.sum(rows, axis=0)

    def _widen(self, needed: Ints) -> None:
        """Make the bins of every latent at least 2^needed wide."""
        while (late := np.flatnonzero(self._exponent < needed)).size:
            filled = self.count_JCH[late].any(axis=(1, 2))
            self._exponent[late[~filled]] = needed[late[~filled]]
            late = late[filled]
            merged = (
                self.count_JCH[late].reshape(late.size, self.cells.n, N_BINS // 2, 2).sum(axis=3)
            )
            self.count_JCH[late] = np.pad(merged, ((0, 0), (0, 0), (0, N_BINS // 2)))
            self._exponent[late] += 1

    def rank(self, latent: int, value: float) -> float:
        """Share of the latent's active values below `value`, to within its bin."""
        count_H = self.count_JCH[latent].sum(axis=0)
        at = value / self.width_J[latent]
        below = np.interp(at, np.arange(N_BINS + 1), np.concatenate(([0], np.cumsum(count_H))))
        return float(below / max(1, count_H.sum()))

    def quantiles(self, latent: int, shares: Floats) -> Floats:
        """Values below which these shares of the latent's active values lie, to within a bin."""
        count_H = self.count_JCH[latent].sum(axis=0)
        total = np.concatenate(([0], np.cumsum(count_H))) / max(1, count_H.sum())
        used = np.concatenate(([True], np.diff(total) > 0))  # an inverse needs strict growth
        return np.interp(shares, total[used], np.arange(N_BINS + 1)[used]) * self.width_J[latent]
