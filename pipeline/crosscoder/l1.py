"""The L1 variant, the reference recipe. Letters: B rows, M models, D width, L latents, P = M D."""

import torch
from torch import Tensor

from pipeline.config.crosscoder import L1Config
from pipeline.crosscoder.dense import DenseProducts, Precision, gradient_of
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.variant import Loss, Moment, Step, Variant


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
        *,
        sparsity_coefficient: float,
        sparsity_warmup_fraction: float,
        precision: Precision,
    ) -> None:
        super().__init__(crosscoder)
        self.sparsity_coefficient = sparsity_coefficient
        self.sparsity_warmup_fraction = sparsity_warmup_fraction
        self.products = DenseProducts(crosscoder, precision)
        self.penalty_weight_L = torch.ones_like(crosscoder.b_enc_L, requires_grad=False)

    @classmethod
    def from_config(cls, crosscoder: Crosscoder, config: L1Config, precision: Precision) -> "L1":
        return cls(
            crosscoder,
            sparsity_coefficient=config.sparsity_coefficient,
            sparsity_warmup_fraction=config.sparsity_warmup_fraction,
            precision=precision,
        )

    def schedule(self, moment: Moment) -> dict[str, float]:
        ramp = moment.ramp(self.sparsity_warmup_fraction)
        return {"sparsity_coefficient": self.sparsity_coefficient * ramp}

    def loss(self, x_BP: Tensor, moment: Moment) -> Loss:
        crosscoder = self.crosscoder
        f_BL = torch.relu(x_BP @ crosscoder.W_enc_LP.t() + crosscoder.b_enc_L)
        x_hat_BP = f_BL @ crosscoder.W_dec_LP + crosscoder.b_dec_P
        penalty_L = self.penalty_weight_L * crosscoder.decoder_norms().sum(-1)
        reconstruction = (x_hat_BP - x_BP).square().sum(-1).mean()
        return self._loss(reconstruction, (f_BL * penalty_L).sum(-1).mean(), moment)

    def _loss(self, reconstruction: Tensor, sparsity: Tensor, moment: Moment) -> Loss:
        weights = {"reconstruction": 1.0, "sparsity": self.schedule(moment)["sparsity_coefficient"]}
        return Loss({"reconstruction": reconstruction, "sparsity": sparsity}, weights)

    @torch.no_grad()
    def step(self, x_BP: Tensor, moment: Moment) -> Step:
        products, n_rows = self.products, len(x_BP)
        products.begin()
        rows_BP = products.rounded("rows", x_BP)
        f_BL = products.preactivations(rows_BP).relu_()
        residual_BP = products.decode(f_BL).sub_(x_BP)
        mean_f_L = f_BL.sum(0, dtype=x_BP.dtype) / n_rows
        norms_LM = self.crosscoder.decoder_norms()
        loss = self._loss(
            residual_BP.square().sum() / n_rows,
            mean_f_L @ (self.penalty_weight_L * norms_LM.sum(-1)),
            moment,
        )
        self._backward(f_BL, residual_BP, rows_BP, mean_f_L, norms_LM, loss.weights["sparsity"])
        return Step(loss, residual_BP, f_BL, mean_f_L > 0)

    def _backward(
        self,
        f_BL: Tensor,
        residual_BP: Tensor,
        rows_BP: Tensor,
        mean_f_L: Tensor,
        norms_LM: Tensor,
        coefficient: float,
    ) -> None:
        """d total / d parameter into every `.grad`.

        d sparsity / d W_dec_m,i = w_i mean_B(f_i) d_m,i / ||d_m,i||  (0 where the norm is 0)
        d sparsity / d f_i       = w_i sum_m ||d_m,i|| / B
        """
        crosscoder, products, n_rows = self.crosscoder, self.products, len(f_BL)
        g_BP = products.rounded("rows gradient", residual_BP * (2 / n_rows))
        weight_L = coefficient * self.penalty_weight_L

        pull_LM = torch.where(norms_LM > 0, (weight_L * mean_f_L)[:, None] / norms_LM, 0)
        W_dec_grad_LP = gradient_of(crosscoder.W_dec_LP)
        torch.mul(
            crosscoder.W_dec, pull_LM[:, :, None], out=W_dec_grad_LP.view_as(crosscoder.W_dec)
        )
        products.weight_gradient(f_BL, g_BP, W_dec_grad_LP, add=True)
        torch.sum(residual_BP, 0, out=gradient_of(crosscoder.b_dec_P)).mul_(2 / n_rows)

        pre_grad_BL = products.latent_gradient(g_BP, weight_L * norms_LM.sum(-1) / n_rows)
        torch.ops.aten.threshold_backward.grad_input(pre_grad_BL, f_BL, 0, grad_input=pre_grad_BL)
        products.weight_gradient(pre_grad_BL, rows_BP, gradient_of(crosscoder.W_enc_LP), add=False)
        gradient_of(crosscoder.b_enc_L).copy_(pre_grad_BL.sum(0, dtype=residual_BP.dtype))
