"""JumpReLU. Letters: B rows, M models, D d_model, L latents, P = M * D."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from pipeline.config.crosscoder import JumpReluConfig
from pipeline.crosscoder.entries import Precision, gradient_of
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.variant import Loss, Moment, Step, Variant
from pipeline.distributed import ONE_PROCESS, Mesh


class JumpRelu(Variant):
    """One learned threshold per latent, and a penalty on the number of active latents.

        pre     = sum_m x_m W_enc_m + b_enc
        v_i     = pre_i n_i,  n_i = sum_m ||d_m,i||
        gate_i  = [v_i > theta_i],  theta = exp(log_theta)
        f       = pre * gate
        x_hat_m = f W_dec_m + b_dec_m
        total   = mean_B sum_{m,d} (x_hat - x)^2  +  lambda(t) mean_B sum_i gate_i

    The gate has no gradient but for theta, through a rectangular kernel of width `bandwidth`:
        d gate_i / d theta_i ~ -[|v_i - theta_i| < bandwidth / 2] / bandwidth
        d f_i    / d theta_i ~ -(theta_i / n_i) [|v_i - theta_i| < bandwidth / 2] / bandwidth
    Adam moves log_theta by about one learning rate a step whatever the gradient, so thresholds get
    a learning rate of their own: at that of the weights they stay near their start over 10^2 to
    10^4 steps, and nearly every latent stays active.
    Source: Rajamanoharan et al. 2024, arXiv 2407.14435, there with unit decoder norms, which here
    n_i stands for.
    """

    def __init__(
        self,
        crosscoder: Crosscoder,
        config: JumpReluConfig,
        *,
        precision: Precision,
        mesh: Mesh = ONE_PROCESS,
    ) -> None:
        super().__init__(crosscoder, precision, mesh)
        self.config = config
        start_L = torch.full_like(crosscoder.b_enc_L, config.threshold_init, requires_grad=False)
        self.log_theta_L = torch.nn.Parameter(start_L.log())

    def parameters(self) -> list[torch.nn.Parameter]:
        return [*super().parameters(), self.log_theta_L]

    def parameter_names(self) -> list[str]:
        return [*super().parameter_names(), "log_theta_L"]

    def learning_rate_ratios(self) -> list[float]:
        return [*[1.0] * (len(self.parameters()) - 1), self.config.threshold_learning_rate_ratio]

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"log_theta_L": self.log_theta_L.detach()}

    def schedule(self, moment: Moment) -> dict[str, float]:
        ramp = moment.ramp(self.config.sparsity_warmup_fraction)
        return {"sparsity_coefficient": self.config.sparsity_coefficient * ramp}

    def _loss(self, reconstruction: Tensor, n_active: Tensor, moment: Moment) -> Loss:
        weights = {"reconstruction": 1.0, "n_active": self.schedule(moment)["sparsity_coefficient"]}
        return Loss({"reconstruction": reconstruction, "n_active": n_active}, weights)

    def loss(self, x_BP: Tensor, moment: Moment) -> Loss:
        crosscoder = self.crosscoder
        pre_BL = x_BP @ crosscoder.W_enc_LP.t() + crosscoder.b_enc_L
        norm_L = crosscoder.decoder_norms().sum(-1).detach()
        v_BL, theta_L = pre_BL.detach() * norm_L, self.log_theta_L.exp()
        gate_BL = Gate.apply(v_BL, theta_L, self.config.bandwidth)
        # Where the kernel holds, v is about theta: the paper writes theta / n for pre there.
        edge_BL = theta_L.detach() / norm_L
        f_BL = pre_BL * gate_BL.detach() + edge_BL * (gate_BL - gate_BL.detach())
        residual_BP = f_BL @ crosscoder.W_dec_LP + crosscoder.b_dec_P - x_BP
        return self._loss(residual_BP.square().sum(-1).mean(), gate_BL.sum(-1).mean(), moment)

    @torch.no_grad()
    def step(self, x_BP: Tensor, moment: Moment, n_rows: int | None = None) -> Step:
        crosscoder, products, n_rows = self.crosscoder, self.products, n_rows or len(x_BP)
        products.begin()
        rows_BP = products.rounded("rows", x_BP)
        pre_BL = products.preactivations(rows_BP)
        norm_L, theta_L = crosscoder.decoder_norms().sum(-1), self.log_theta_L.exp()
        half = self.config.bandwidth / 2
        # Everything above the kernel's lower end: the active entries and those about to be.
        reach = products.entries(pre_BL, ((theta_L - half) / norm_L).to(pre_BL.dtype))
        pre, theta = reach.values, reach.per_latent(theta_L)
        v = pre * reach.per_latent(norm_L)
        gate, kernel = v > theta, (v - theta).abs_() < half
        f = reach.with_values(pre * gate)
        residual_BP = products.reconstruct(f).sub_(x_BP)
        n_active = gate.sum().to(x_BP.dtype) / n_rows
        reconstruction = self.mesh.latents.once(residual_BP.square().sum() / n_rows)
        loss = self._loss(reconstruction, n_active, moment)

        g_BP = products.rounded("gradient", residual_BP * (2 / n_rows))
        f.outer_into(crosscoder.W_dec_LP, g_BP)
        self.gradient_done(crosscoder.W_dec_LP)
        torch.sum(residual_BP, 0, out=gradient_of(crosscoder.b_dec_P)).mul_(2 / n_rows)
        f_grad = f.dot(g_BP, products.W_dec_LP)
        per_gate = f_grad * reach.per_latent(theta_L / norm_L)
        per_gate += loss.weights["n_active"] / n_rows
        at_edge_L = reach.with_values(per_gate.mul_(kernel)).latent_sums().to(x_BP.dtype)
        # d / d log theta = theta d / d theta
        torch.mul(at_edge_L, -theta_L / self.config.bandwidth, out=gradient_of(self.log_theta_L))
        pre_grad = f.with_values(f_grad.mul_(gate))
        pre_grad.outer_into(crosscoder.W_enc_LP, rows_BP)
        gradient_of(crosscoder.b_enc_L).copy_(pre_grad.latent_sums())
        return Step(loss, residual_BP, f.values, f.latent_sums() != 0)

    @torch.no_grad()
    def finish(self, batches: Iterable[Tensor]) -> None:  # noqa: ARG002 - needs no rows
        norm_L = self.crosscoder.decoder_norms().sum(-1)
        self.crosscoder.threshold_L.copy_(self.log_theta_L.exp() / norm_L)


class Gate(torch.autograd.Function):
    """[v > theta], with a rectangular kernel in place of the delta in its derivative by theta."""

    @staticmethod
    def forward(ctx: Any, v_BL: Tensor, theta_L: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(v_BL, theta_L)
        ctx.bandwidth = bandwidth
        return (v_BL > theta_L).to(v_BL.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        v_BL, theta_L = ctx.saved_tensors
        kernel_BL = ((v_BL - theta_L).abs() < ctx.bandwidth / 2).to(v_BL.dtype) / ctx.bandwidth
        return None, -(gradients[0] * kernel_BL).sum(0), None
