"""Adam in one pass over the parameters, the gradient's rescaling included."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adam import adam

from pipeline.config.crosscoder import TrainConfig
from pipeline.crosscoder import gathered
from pipeline.crosscoder.products import RoundedCopy
from pipeline.crosscoder.variant import Variant, is_per_latent
from pipeline.distributed import ALONE, Ranks


class Adam:
    """Adam (Kingma and Ba 2015, no weight decay), its state held as plain tensors.

    names: of the parameters; latents: the ranks that hold other latents of the same parameters
    copies: rounded copies of parameters, which are written with them where a Triton kernel moves
        them (`gathered.by_kernels`), else made by who takes them

    Moments that reach denormal numbers make the fused pass ten times slower on a CPU:
    `torch.set_flush_denormal(True)` belongs at the start of the process.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        config: TrainConfig,
        learning_rate_ratios: Sequence[float] | None = None,
        *,
        names: Sequence[str] | None = None,
        latents: Ranks = ALONE,
        copies: Mapping[Parameter, RoundedCopy] | None = None,
    ) -> None:
        self.parameters = list(parameters)
        self.config = config
        self.ratios = list(learning_rate_ratios or [1.0] * len(self.parameters))
        self.names = list(names or map(str, range(len(self.parameters))))
        self.latents = latents
        self.copies = copies or {}
        assert len(self.ratios) == len(self.parameters) == len(self.names)
        self.means = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.squares = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.counts = [torch.zeros((), device=p.device) for p in self.parameters]
        betas = torch.tensor([config.beta1, config.beta2], dtype=torch.float64)
        self.betas = betas.to(self.parameters[0].device)

    @classmethod
    def of(cls, variant: Variant, config: TrainConfig) -> "Adam":
        """For all that a variant trains, and the copies that its products take."""
        return cls(
            variant.parameters(),
            config,
            variant.learning_rate_ratios(),
            names=variant.parameter_names(),
            latents=variant.mesh.latents,
            copies=variant.products.copies,
        )

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
        by_kernel = gathered.by_kernels(self.parameters[0])
        move = self._move_by_kernel if by_kernel else self._move_by_pytorch
        for ratio in dict.fromkeys(self.ratios):
            group = [index for index, own in enumerate(self.ratios) if own == ratio]
            move(group, learning_rate * ratio, divisor)

    def _move_by_pytorch(
        self, group: list[int], learning_rate: float, divisor: Tensor | None
    ) -> None:
        gradients = self.gradients()
        adam(
            [self.parameters[i] for i in group],
            [gradients[i] for i in group],
            [self.means[i] for i in group],
            [self.squares[i] for i in group],
            [],
            [self.counts[i] for i in group],
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

    def _move_by_kernel(
        self, group: list[int], learning_rate: float, divisor: Tensor | None
    ) -> None:
        from pipeline.training import adam_kernel

        gradients = self.gradients()
        for i in group:
            self.counts[i].add_(1)
        # All have been moved as often.
        unbias = (1 - self.betas ** self.counts[group[0]]).float()
        for i in group:
            parameter, copy = self.parameters[i], self.copies.get(self.parameters[i])
            adam_kernel.update(
                parameter,
                gradients[i],
                self.means[i],
                self.squares[i],
                None if copy is None else copy.values,
                divisor=divisor,
                unbias=unbias,
                learning_rate=learning_rate,
                betas=(self.config.beta1, self.config.beta2),
                epsilon=self.config.epsilon,
            )
            if copy is not None:
                copy.written()

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
