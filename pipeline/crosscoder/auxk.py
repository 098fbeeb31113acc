"""The auxiliary loss that revives dead latents.

Letters: B rows, L latents, P = models * width, Z dead latents.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.products import gradient_of
from pipeline.distributed import ONE_PROCESS, Mesh


@dataclass(frozen=True)
class AuxK:
    """Dead latents are asked to explain what the living ones leave.

        e     = x - x_hat, taken as given
        e_hat = sum over the `k_aux` dead latents of largest score in the row of f_i d_i, no bias
        auxk  = mean_B ||e_hat - e||^2 / mean_B ||e - mean_B e||^2

    0 where no latent is dead, or where e does not vary (a last batch of one row).
    Source: Gao et al. 2024, arXiv 2406.04093; for crosscoders Minder, Dumas et al. 2025.
    """

    k_aux: int
    mesh: Mesh = ONE_PROCESS

    def loss(
        self, crosscoder: Crosscoder, pre_BL: Tensor, residual_BP: Tensor, dead_L: Tensor
    ) -> Tensor:
        """The term, differentiable. residual_BP is x_hat - x."""
        dead_Z = dead_L.nonzero().squeeze(1)
        if len(dead_Z) == 0:
            return residual_BP.new_zeros(())
        norm_Z = crosscoder.decoder_norms().sum(-1)[dead_Z]
        f_BZ = self._kept(torch.relu(pre_BL[:, dead_Z]), norm_Z.detach(), len(dead_Z))
        error_BP = f_BZ @ crosscoder.W_dec_LP[dead_Z] + residual_BP
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

    def step(
        self,
        crosscoder: Crosscoder,
        pre_BL: Tensor,
        rows_BP: Tensor,
        residual_BP: Tensor,
        dead_L: Tensor,
        norm_L: Tensor,
        coefficient: float,
        n_rows: int,
    ) -> Tensor:
        """The term, this process's share of it; adds its gradient, times `coefficient`, to the
        weights' gradients. n_rows: rows of the whole batch."""
        dead_Z, latents = dead_L.nonzero().squeeze(1), self.mesh.latents
        n_dead = latents.total(len(dead_Z))
        if n_dead == 0:
            return residual_BP.new_zeros(())
        f_BZ = self._kept(pre_BL.index_select(1, dead_Z).relu_(), norm_L[dead_Z], n_dead)
        f_BZ = f_BZ.to(rows_BP.dtype)
        W_dec_ZP = crosscoder.W_dec_LP.detach()[dead_Z].to(rows_BP.dtype)
        e_hat_BP = (f_BZ @ W_dec_ZP).to(residual_BP.dtype)
        latents.sum(e_hat_BP)
        error_BP = e_hat_BP.add_(residual_BP)
        inverse_spread = self._inverse_spread(residual_BP, n_rows)
        g_BP = (error_BP * (2 * coefficient / n_rows * inverse_spread)).to(rows_BP.dtype)
        pre_grad_BZ = (g_BP @ W_dec_ZP.t()).mul_(f_BZ > 0)
        _add_rows(crosscoder.W_dec_LP, dead_Z, f_BZ.t() @ g_BP)
        _add_rows(crosscoder.W_enc_LP, dead_Z, pre_grad_BZ.t() @ rows_BP)
        _add_rows(crosscoder.b_enc_L, dead_Z, pre_grad_BZ.sum(0, dtype=residual_BP.dtype))
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
    gradient = gradient_of(parameter)
    gradient.index_add_(0, index_Z, rows.to(gradient.dtype))
