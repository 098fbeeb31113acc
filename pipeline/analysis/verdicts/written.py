"""What the models write of each latent, by products of two halves of the documents; two passes.

A decoder's direction is bent by the penalty and by what it was trained beside. So the direction is
asked of the activations: u_m,j = sum_t f_j y_m / sum_t f_j^2 with y_m the error with the latent put
back, h^m - x_hat^m + f_j d_j^m. Where other latents write the concept (Latent Decoupling, Minder et
al. 2025), the error holds nothing of it, and y_m = h^m - b^m, the whole row, is taken instead.

The vectors of a half, sum f y, are made in the first pass. The second makes their products with
what the other half has, block by block, so that every figure can be had without any one block:
with U_n of the other half than block g's

    a_g,mn = <sum_{t in g} f y_m, U_n>,    <U_m, U_n> = sum of a_g,mn over the blocks of one half

Even blocks are one half, odd ones the other. Everything is in the normalised space.

Letters: B rows, M models, D d_model, L latents, G blocks of documents, H halves, N active pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.heldout import Window
from pipeline.analysis.verdicts.scaling import MAX_ELEMENTS, ScalingSums
from pipeline.crosscoder import Crosscoder
from pipeline.crosscoder.entries import SparseEntries

Floats = NDArray[np.float64]
ROUNDING = 1e-9


@dataclass(frozen=True)
class Products:
    """square_GL: sum f_j^2; product_GLMM: a_g of each latent."""

    square_GL: Floats
    product_GLMM: Floats

    def without_each_block(self) -> Floats:
        """[G + 1, L, M, M] products of u: of all blocks, then with each left out; NaN where a half
        has nothing of the latent."""
        even_G = np.arange(len(self.square_GL)) % 2 == 0
        # A block of the odd half has its own vector first: turned, every block's is (even, odd).
        product = np.where(
            even_G[:, None, None, None], self.product_GLMM, self.product_GLMM.swapaxes(2, 3)
        )
        whole_LMM = product[even_G].sum(axis=0)
        square_HL = np.stack([self.square_GL[even_G].sum(axis=0), self.square_GL[~even_G].sum(0)])
        left_HGL = square_HL[:, None] - np.stack([even_G, ~even_G])[:, :, None] * self.square_GL
        effort_L = square_HL.prod(axis=0)
        effort = np.concatenate([effort_L[None], left_HGL.prod(axis=0)])
        products = np.concatenate([whole_LMM[None], whole_LMM - product])
        known = effort > ROUNDING * effort_L  # the one block of a half, left out, leaves rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(known, 1 / effort, np.nan)[:, :, None, None] * products


@torch.inference_mode()
def written(
    crosscoder: Crosscoder, window: Window, sums: ScalingSums, by_rows_L: NDArray[np.bool_]
) -> Products:
    """Over the rows behind `sums`, whose blocks and squares these are. by_rows_L: the latents whose
    y is the whole row."""
    halves = _Halves(crosscoder, window, sums, by_rows_L)
    return Products(sums.square_GL, halves.products(halves.vectors()))


class _Halves:
    def __init__(
        self,
        crosscoder: Crosscoder,
        window: Window,
        sums: ScalingSums,
        by_rows_L: NDArray[np.bool_],
    ) -> None:
        self._crosscoder, self._window = crosscoder, window
        self._n_blocks = len(sums.square_GL)
        device = crosscoder.W_dec.device
        self._by_rows_L = torch.from_numpy(by_rows_L).to(device)
        self._square_GL = torch.from_numpy(sums.square_GL).to(device)
        self._W_MLD = crosscoder.W_dec.detach().transpose(0, 1).contiguous()

    def vectors(self) -> Tensor:
        """[H, M, L, D] sum f y of each half."""
        U_HMLD = self._W_MLD.new_zeros(2, *self._W_MLD.shape)
        for half, _, f_BL, e_BMD, coded_BMD in self._batches("latent_scaling_written"):
            for m, U_LD in enumerate(U_HMLD[half]):
                U_LD.addmm_(f_BL.T, e_BMD[:, m])
                U_LD[self._by_rows_L] += f_BL[:, self._by_rows_L].T @ coded_BMD[:, m]
        self._window.ranks.sum(U_HMLD)
        for half in range(2):
            put_back_L = self._square_GL[half::2].sum(0).to(U_HMLD) * ~self._by_rows_L
            U_HMLD[half] += put_back_L[:, None] * self._W_MLD
        return U_HMLD

    def products(self, U_HMLD: Tensor) -> Floats:
        """[G, L, M, M] a_g, with the vectors of the half that block g is not in."""
        n_latents = self._crosscoder.n_latents
        a_MMX = torch.zeros(2, 2, self._n_blocks * n_latents, dtype=torch.float64).to(U_HMLD.device)
        for half, block_B, f_BL, e_BMD, coded_BMD in self._batches("latent_scaling_halves"):
            flat_N = f_BL.flatten().nonzero()[:, 0]
            active = SparseEntries.at(flat_N, f_BL.flatten()[flat_N], *f_BL.shape)
            sum_N = block_B[active.row_N] * n_latents + active.latent_N
            coded_N = active.per_latent(self._by_rows_L)
            for m in range(2):
                e_BD, coded_BD = e_BMD[:, m].contiguous(), coded_BMD[:, m].contiguous()
                for n, U_LD in enumerate(U_HMLD[1 - half]):
                    dot_N = active.dot(e_BD, U_LD)
                    if self._by_rows_L.any():
                        dot_N = dot_N + coded_N * active.dot(coded_BD, U_LD)
                    a_MMX[m, n].index_add_(0, sum_N, (active.values * dot_N).double())
        self._window.ranks.sum(a_MMX)
        a_MMGL = a_MMX.view(2, 2, self._n_blocks, n_latents)
        for half in range(2):
            along_MML = torch.einsum("mld,nld->mnl", self._W_MLD, U_HMLD[1 - half]).double()
            put_back_GL = self._square_GL[half::2] * ~self._by_rows_L
            a_MMGL[:, :, half::2] += put_back_GL * along_MML[:, :, None]
        return a_MMGL.permute(2, 3, 0, 1).cpu().numpy()

    def _batches(self, name: str) -> Iterator[tuple[int, Tensor, Tensor, Tensor, Tensor]]:
        """Half, block of each row [B], f [B, L], error, and rows as coded less the bias."""
        device, n_rows = self._W_MLD.device, max(1, MAX_ELEMENTS // self._crosscoder.n_latents)
        for rows in self._window.batches(device, name, "document"):
            block = torch.from_numpy(rows.columns["document"] % self._n_blocks).to(device)
            for half in range(2):
                mine = (block % 2 == half).nonzero()[:, 0]
                # A last batch may be of few documents, and so have no row of a half.
                for part in mine.split(n_rows) if len(mine) else ():
                    yield half, block[part], *self._coded(rows.x[part])

    def _coded(self, x_BMD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_BMD = self._crosscoder.normalise(x_BMD)
        f_BL = self._crosscoder.encode(x_BMD)
        coded_BP = f_BL @ self._crosscoder.W_dec_LP
        coded_BMD = coded_BP.view(x_BMD.shape)
        return f_BL, x_BMD - coded_BMD - self._crosscoder.b_dec_P.view(x_BMD[0].shape), coded_BMD
