"""The auxiliary loss that revives dead latents.

Letters: B rows, L latents, P = M * D, Z dead latents.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.crosscoder.entries import gradient_of, product
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.selection import positions
from pipeline.distributed import ONE_PROCESS, Mesh


@dataclass(frozen=True)
class Unexplained:
    """What the living latents leave of a batch, and what the dead ones could do about it.

    pre_BL: preactivations; norm_L: sum of the decoder norms; rows_BP: the rows
    residual_BP: x_hat - x; dead_L: whether a latent is dead; n_dead: how many of this process's
    are, n_dead_in_all: how many of all ranks; n_rows: rows of the whole batch
    """

    pre_BL: Tensor
    norm_L: Tensor
    rows_BP: Tensor
    residual_BP: Tensor
    dead_L: Tensor
    n_dead: int
    n_dead_in_all: int
    n_rows: int


@dataclass(frozen=True)
class AuxK:
    """Dead latents are asked to explain what the living ones leave.

        e     = x - x_hat, taken as given
        e_hat = sum over the `k_aux` dead latents of largest score in the row of f_i d_i, no bias
        auxk  = mean_B ||e_hat - e||^2 / mean_B ||e - mean_B e||^2

    0 where no latent is dead, or where e does not vary (a last batch of one row). A share, whatever
    the width: 1 where the dead explain nothing.
    Source: Gao et al. 2024, arXiv 2406.04093; for crosscoders Minder, Dumas et al. 2025.
    """

    crosscoder: Crosscoder
    k_aux: int
    mesh: Mesh = ONE_PROCESS

    def loss(self, pre_BL: Tensor, residual_BP: Tensor, dead_L: Tensor) -> Tensor:
        """The term, differentiable. residual_BP is x_hat - x."""
        dead_Z = dead_L.nonzero().squeeze(1)
        if len(dead_Z) == 0:
            return residual_BP.new_zeros(())
        norm_Z = self.crosscoder.decoder_norms().sum(-1)[dead_Z]
        f_BZ = self._kept(torch.relu(pre_BL[:, dead_Z]), norm_Z.detach(), len(dead_Z))
        error_BP = f_BZ @ self.crosscoder.W_dec_LP[dead_Z] + residual_BP
        spread = self._inverse_spread(residual_BP, len(residual_BP))
        return error_BP.square().sum(-1).mean() * spread

    def _kept(self, f_BZ: Tensor, norm_Z: Tensor, n_dead: int) -> Tensor:
        """f_BZ with zeros below the `k_aux` largest scores of a row, of `n_dead` on all ranks."""
        if n_dead <= self.k_aux:
            return f_BZ
        v_BZ = f_BZ.detach() * norm_Z
        k_own = min(self.k_aux, v_BZ.shape[1])
        largest = v_BZ.new_zeros(len(v_BZ), self.k_aux)
        largest[:, :k_own] = v_BZ.topk(k_own, dim=1, sorted=False).values
        everywhere = torch.cat(self.mesh.latents.gathered(largest), 1)
        edge_B1 = everywhere.topk(self.k_aux, dim=1, sorted=False).values.amin(1, keepdim=True)
        return f_BZ * (v_BZ >= edge_B1)

    def step(self, batch: Unexplained, weight: float) -> Tensor:
        """The term, this process's share of it; adds its gradient, times `weight`, to the weights'
        gradients."""
        latents, n_rows, rows_BP = self.mesh.latents, batch.n_rows, batch.rows_BP
        if batch.n_dead_in_all == 0:
            return batch.residual_BP.new_zeros(())
        dead_Z = positions(batch.dead_L, batch.n_dead)
        f_BZ = batch.pre_BL.index_select(1, dead_Z).relu_()
        f_BZ = self._kept(f_BZ, batch.norm_L[dead_Z], batch.n_dead_in_all).to(rows_BP.dtype)
        W_dec_ZP = self.crosscoder.W_dec_LP.detach()[dead_Z].to(rows_BP.dtype)
        e_hat_BP = (f_BZ @ W_dec_ZP).to(batch.residual_BP.dtype)
        latents.sum(e_hat_BP)
        # e_hat - e is e_hat + (x_hat - x). e is taken as given: the living latents' gradient is
        # that of the reconstruction alone, and so is the decoder bias's, which e_hat leaves out.
        error_BP = e_hat_BP.add_(batch.residual_BP)
        inverse_spread = self._inverse_spread(batch.residual_BP, n_rows)
        g_BP = (error_BP * (2 * weight / n_rows * inverse_spread)).to(rows_BP.dtype)
        # Only kept entries pass a gradient on: those that the relu or the choice left out stay so.
        pre_grad_BZ = (g_BP @ W_dec_ZP.t()).mul_(f_BZ > 0)
        dtype = self.crosscoder.W_dec_LP.dtype
        _add_rows(self.crosscoder.W_dec_LP, dead_Z, product(f_BZ.t(), g_BP, dtype))
        _add_rows(self.crosscoder.W_enc_LP, dead_Z, product(pre_grad_BZ.t(), rows_BP, dtype))
        sums_Z = pre_grad_BZ.sum(0, dtype=batch.residual_BP.dtype)
        _add_rows(self.crosscoder.b_enc_L, dead_Z, sums_Z)
        return latents.once(error_BP.square().sum() / n_rows * inverse_spread)

    def _inverse_spread(self, residual_BP: Tensor, n_rows: int) -> Tensor:
        """1 / mean_B ||e - mean_B e||^2, or 0 where that is 0."""
        sum_P = residual_BP.sum(0)
        self.mesh.rows.sum(sum_P)
        spread = (residual_BP - sum_P / n_rows).square().sum(-1).sum()
        self.mesh.rows.sum(spread)
        spread = spread / n_rows
        return torch.where(spread > 0, 1 / spread, 0)


def _add_rows(parameter: torch.nn.Parameter, index_Z: Tensor, rows: Tensor) -> None:
    gradient_of(parameter).index_add_(0, index_Z, rows)
