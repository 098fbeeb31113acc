"""Adam in one fused pass over the parameters, the gradient's rescaling included."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

from pipeline.config.crosscoder import TrainConfig
from pipeline.crosscoder.variant import is_per_latent
from pipeline.distributed import ALONE, Ranks


class Adam:
    """Adam (Kingma and Ba 2015, no weight decay), its state held as plain tensors.

    names: of the parameters; latents: the ranks that hold other latents of the same parameters

    Moments that reach denormal numbers make the fused pass ten times slower on a CPU:
    `torch.set_flush_denormal(True)` belongs at the start of the process.
    """

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        config: TrainConfig,
        learning_rate_ratios: Sequence[float] | None = None,
        *,
        names: Sequence[str] | None = None,
        latents: Ranks = ALONE,
    ) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.config = config
        self.ratios = list(learning_rate_ratios or [1.0] * len(self.parameters))
        self.names = list(names or map(str, range(len(self.parameters))))
        self.latents = latents
        assert len(self.ratios) == len(self.parameters) == len(self.names)
        self.means = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.squares = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.counts = [torch.zeros((), device=p.device) for p in self.parameters]

    def gradients(self) -> list[Tensor]:
        """Gradients in the order of the parameters."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        assert len(gradients) == len(self.parameters), "a parameter got no gradient"
        return gradients

    def gradient_norm(self) -> Tensor:
        """Norm of the gradients of all latents taken as one vector, a scalar."""
        counted = [
            gradient
            for name, gradient in zip(self.names, self.gradients(), strict=True)
            if self.latents.is_first or is_per_latent(name)
        ]
        return self.latents.norm(torch.nn.utils.get_total_norm(counted))

    @torch.no_grad()
    def update(self, *, learning_rate: float, gradient_norm: Tensor) -> None:
        """Move the parameters, with gradients scaled down to the configured largest norm."""
        clip = self.config.gradient_clip
        divisor = None if clip is None else (gradient_norm / clip).clamp_min(1.0)
        for ratio in dict.fromkeys(self.ratios):
            self._update_group(ratio, learning_rate * ratio, divisor)

    def _update_group(self, ratio: float, learning_rate: float, divisor: Tensor | None) -> None:
        def of_group(tensors: list[Tensor]) -> list[Tensor]:
            return [t for t, own in zip(tensors, self.ratios, strict=True) if own == ratio]

        adam(
            of_group(self.parameters),
            of_group(self.gradients()),
            of_group(self.means),
            of_group(self.squares),
            [],
            of_group(self.counts),
            fused=True,
            grad_scale=divisor,
            amsgrad=False,
            beta1=self.config.beta1,
            beta2=self.config.beta2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=self.config.epsilon,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """Everything an update depends on beside parameters and gradients, by name."""
        state: dict[str, Tensor] = {}
        for index, name in enumerate(self.names):
            state[f"mean.{name}"] = self.means[index]
            state[f"square.{name}"] = self.squares[index]
            state[f"count.{index}"] = self.counts[index]
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
