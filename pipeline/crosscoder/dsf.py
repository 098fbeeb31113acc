"""Designated shared features. Letters: M models, D d_model, L latents, P = M * D."""

import torch
from torch import Tensor

from pipeline.config.crosscoder import DsfConfig
from pipeline.crosscoder.entries import Precision, gradient_of
from pipeline.crosscoder.l1 import L1
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.variant import Step
from pipeline.distributed import ONE_PROCESS, Mesh


class Dsf(L1):
    """L1 in which the first `n_shared_latents` latents have one decoder for all models.

        d_m,i = d_i for every model m and shared latent i
        total = mean_B sum_{m,d} (x_hat - x)^2  +  lambda(t) mean_B sum_i w_i f_i sum_m ||d_m,i||
        w_i   = `shared_penalty_ratio` (published: 0.1 to 0.2) for a shared latent, else 1

    The cheap shared latents take what both models have, so that the exclusive ones are left with
    what only one has. The tied decoder is kept as M equal copies; each gets the mean of their
    gradients, so they stay equal to the bit.
    Source: Anthropic, "Insights on Crosscoder Model Diffing", February 2025.
    """

    def __init__(
        self,
        crosscoder: Crosscoder,
        config: DsfConfig,
        *,
        precision: Precision,
        mesh: Mesh = ONE_PROCESS,
    ) -> None:
        super().__init__(crosscoder, config, precision=precision, mesh=mesh)
        own = mesh.latents.part(config.n_latents)
        self.n_shared_latents = len(range(own.start, min(own.stop, config.n_shared_latents)))
        self.penalty_weight_L[: self.n_shared_latents] = config.shared_penalty_ratio

    def decoder(self) -> Tensor:
        W_dec = self.crosscoder.W_dec
        shared, exclusive = W_dec[: self.n_shared_latents], W_dec[self.n_shared_latents :]
        tied = shared.mean(1, keepdim=True).expand_as(shared)
        return torch.cat([tied, exclusive]).reshape_as(self.crosscoder.W_dec_LP)

    def gradient_done(self, parameter: torch.nn.Parameter) -> None:
        if parameter is self.crosscoder.W_dec_LP:
            self._tie_gradients()
        super().gradient_done(parameter)

    @torch.no_grad()
    def reduced(self, step: Step) -> Step:
        step = super().reduced(step)
        if self.mesh.rows.size > 1:  # the copies may have been added up in another order of ranks
            self._tie_gradients()
        return step

    def _tie_gradients(self) -> None:
        gradient = gradient_of(self.crosscoder.W_dec_LP).view_as(self.crosscoder.W_dec)
        shared = gradient[: self.n_shared_latents]
        shared.copy_(shared.mean(1, keepdim=True).expand_as(shared))
