"""The L1 variant, the published recipe.

Letters: B rows, M models, D d_model, L latents, P = M * D.
"""

import torch
from torch import Tensor

from pipeline.config.crosscoder import DsfConfig, L1Config
from pipeline.crosscoder.entries import Entries, Precision, gradient_of, relu_backward
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.variant import Loss, Moment, Step, Variant
from pipeline.distributed import ONE_PROCESS, Mesh


class L1(Variant):
    """ReLU latents with an L1 penalty weighted by the decoder norms.

        f       = relu(sum_m x_m W_enc_m + b_enc)
        x_hat_m = f W_dec_m + b_dec_m
        total   = mean_B sum_{m,d} (x_hat - x)^2  +  lambda(t) mean_B sum_i w_i f_i sum_m ||d_m,i||

    lambda(t) rises linearly from 0 to `sparsity_coefficient` over the warm-up; all w_i are 1.
    Source: Kissane et al. 2024, "Open Source Replication of Anthropic's Crosscoder paper for
    model-diffing"; the norm-weighted penalty is Anthropic's (Lindsey et al. 2024).
    """

    def __init__(
        self,
        crosscoder: Crosscoder,
        config: L1Config | DsfConfig,
        *,
        precision: Precision,
        mesh: Mesh = ONE_PROCESS,
    ) -> None:
        super().__init__(crosscoder, precision, mesh)
        self.sparsity_coefficient = config.sparsity_coefficient
        self.sparsity_warmup_fraction = config.sparsity_warmup_fraction
        self.penalty_weight_L = torch.ones_like(crosscoder.b_enc_L, requires_grad=False)

    def schedule(self, moment: Moment) -> dict[str, float]:
        ramp = moment.ramp(self.sparsity_warmup_fraction)
        return {"sparsity_coefficient": self.sparsity_coefficient * ramp}

    def loss(self, x_BP: Tensor, moment: Moment) -> Loss:
        crosscoder, W_dec_LP = self.crosscoder, self.decoder()
        f_BL = torch.relu(x_BP @ crosscoder.W_enc_LP.t() + crosscoder.b_enc_L)
        x_hat_BP = f_BL @ W_dec_LP + crosscoder.b_dec_P
        norms_LM = W_dec_LP.view_as(crosscoder.W_dec).norm(dim=-1)
        penalty_L = self.penalty_weight_L * norms_LM.sum(-1)
        reconstruction = (x_hat_BP - x_BP).square().sum(-1).mean()
        return self._loss(reconstruction, (f_BL * penalty_L).sum(-1).mean(), moment)

    def decoder(self) -> Tensor:
        """W_dec_LP as the loss sees it."""
        return self.crosscoder.W_dec_LP

    def _loss(self, reconstruction: Tensor, sparsity: Tensor, moment: Moment) -> Loss:
        weights = {"reconstruction": 1.0, "sparsity": self.schedule(moment)["sparsity_coefficient"]}
        return Loss({"reconstruction": reconstruction, "sparsity": sparsity}, weights)

    @torch.no_grad()
    def step(self, x_BP: Tensor, moment: Moment, n_rows: int | None = None) -> Step:
        products, n_rows = self.products, n_rows or len(x_BP)
        products.begin()
        rows_BP = products.rounded("rows", x_BP)
        pre_BL = products.preactivations(rows_BP)
        active = products.entries(pre_BL, 0.0)
        f = active.with_values(active.values.relu_())
        residual_BP = products.reconstruct(f).sub_(x_BP)
        mean_f_L = f.latent_sums().to(x_BP.dtype) / n_rows
        norms_LM = self.crosscoder.decoder_norms()
        loss = self._loss(
            self.mesh.latents.once(residual_BP.square().sum() / n_rows),
            mean_f_L @ (self.penalty_weight_L * norms_LM.sum(-1)),
            moment,
        )
        coefficient = loss.weights["sparsity"]
        self._backward(f, residual_BP, rows_BP, mean_f_L, norms_LM, coefficient, n_rows)
        return Step(loss, residual_BP, f.values, mean_f_L > 0)

    def _backward(
        self,
        f: Entries,
        residual_BP: Tensor,
        rows_BP: Tensor,
        mean_f_L: Tensor,
        norms_LM: Tensor,
        coefficient: float,
        n_rows: int,
    ) -> None:
        """d total / d parameter into every `.grad`.

        d sparsity / d W_dec_m,i = w_i mean_B(f_i) d_m,i / ||d_m,i||  (0 where the norm is 0)
        d sparsity / d f_i       = w_i sum_m ||d_m,i|| / B
        """
        crosscoder, products = self.crosscoder, self.products
        g_BP = products.rounded("gradient", residual_BP * (2 / n_rows))
        weight_L = coefficient * self.penalty_weight_L

        pull_LM = torch.where(norms_LM > 0, (weight_L * mean_f_L)[:, None] / norms_LM, 0)
        W_dec_grad = gradient_of(crosscoder.W_dec_LP)
        torch.mul(crosscoder.W_dec, pull_LM[:, :, None], out=W_dec_grad.view_as(crosscoder.W_dec))
        f.outer_into(crosscoder.W_dec_LP, g_BP, add=True)
        self.gradient_done(crosscoder.W_dec_LP)
        torch.sum(residual_BP, 0, out=gradient_of(crosscoder.b_dec_P)).mul_(2 / n_rows)

        f_grad = f.dot(g_BP, products.W_dec_LP)
        f_grad.add_(f.per_latent(weight_L * norms_LM.sum(-1) / n_rows))
        pre_grad = f.with_values(relu_backward(f_grad, f.values))
        pre_grad.outer_into(crosscoder.W_enc_LP, rows_BP)
        gradient_of(crosscoder.b_enc_L).copy_(pre_grad.latent_sums())
