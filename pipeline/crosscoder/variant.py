"""What the trainer asks of a variant, and the loss every variant returns.

Letters: B rows of a batch, M models, D d_model, L latents, P = M * D. Where a job runs in
several processes, B are the rows of this process or L its latents (see `Mesh`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.crosscoder.entries import Precision
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.products import Products
from pipeline.distributed import Mesh


@dataclass(frozen=True)
class Moment:
    """Where in the run a step lies: `step` of `n_steps`, counted from 0."""

    step: int
    n_steps: int

    def ramp(self, fraction: float) -> float:
        """0 at step 0, rising linearly to 1 at `fraction` of the run, then 1; 1 at the last step
        whatever the fraction, so that a run ends where its schedule does."""
        ramp_steps = min(fraction * self.n_steps, self.n_steps - 1)
        return 1.0 if self.step >= ramp_steps else self.step / ramp_steps


@dataclass(frozen=True)
class Loss:
    """Terms of a loss, each a scalar, and their weights. What is trained on is `total`."""

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float]

    @property
    def total(self) -> Tensor:
        weighted = [self.weights[name] * term for name, term in self.terms.items()]
        return torch.stack(weighted).sum()


@dataclass(frozen=True)
class Step:
    """What one training step computed, valid until the next one (buffers are used again).

    loss: in several processes this one's share of each term; the terms are the sums over all
    residual_BP: x_hat - x
    latents: a tensor whose non-zero entries are the active latents of the batch, of any shape
    fired_L: whether a latent was active on any row of the batch
    """

    loss: Loss
    residual_BP: Tensor
    latents: Tensor
    fired_L: Tensor


class Variant(ABC):
    """How one kind of crosscoder is trained. Its class docstring states the equations.

    `loss` is the readable form, differentiable by autograd, of one process. `step` computes the
    same loss and writes the same gradient into every parameter's `.grad` by hand, and changes
    nothing else; `reduced` adds up what the processes of a job computed; `advance` then moves the
    state that is no parameter, once the update has been accepted.

    Names of tensors end in their axes; those that begin with the latents (`_L`, `_LP`) are divided
    where latents are.
    """

    def __init__(self, crosscoder: Crosscoder, precision: Precision, mesh: Mesh) -> None:
        self.crosscoder = crosscoder
        self.mesh = mesh
        self.products = Products(crosscoder, precision, mesh.latents)
        self._being_summed: dict[torch.nn.Parameter, Callable[[], None]] = {}
        device = crosscoder.W_dec_LP.device
        self.rows_since_fired_L = torch.zeros(
            crosscoder.n_latents, dtype=torch.int64, device=device
        )

    @abstractmethod
    def loss(self, x_BP: Tensor, moment: Moment) -> Loss:
        """The loss on normalised rows x_BP."""

    @abstractmethod
    def step(self, x_BP: Tensor, moment: Moment, n_rows: int | None = None) -> Step:
        """The loss on normalised rows x_BP, and its gradient in every parameter's `.grad`.

        n_rows: rows of the whole batch where x_BP is this process's part of it
        """

    def gradient_done(self, parameter: torch.nn.Parameter) -> None:
        """Called by `step` where it changes this gradient no more: the ranks begin to add theirs
        up while the step goes on. What is not told is added up by `reduced`."""
        assert parameter.grad is not None
        finish = self.mesh.rows.begin_sum(parameter.grad)
        if finish is not None:
            self._being_summed[parameter] = finish

    def reduced(self, step: Step) -> Step:
        """The step of all processes: loss terms, gradients and fired latents of the whole batch."""
        if self.mesh.all.size == 1:
            return step
        terms = torch.stack([term.float() for term in step.loss.terms.values()])
        self.mesh.all.sum(terms)
        left = [p for p in self.parameters() if p not in self._being_summed]
        self.mesh.rows.sum(*[p.grad for p in left if p.grad is not None])
        for finish in self._being_summed.values():
            finish()
        self._being_summed.clear()
        fired_L = step.fired_L.clone()
        self.mesh.rows.any(fired_L)
        named = dict(zip(step.loss.terms, terms, strict=True))
        return replace(step, loss=Loss(named, step.loss.weights), fired_L=fired_L)

    @abstractmethod
    def schedule(self, moment: Moment) -> dict[str, float]:
        """The scheduled values in force at a moment, for the training curve."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """Everything the optimiser moves."""
        return list(self.crosscoder.parameters())

    def parameter_names(self) -> list[str]:
        """Names of the parameters, in their order."""
        return [name for name, _ in self.crosscoder.named_parameters()]

    def learning_rate_ratios(self) -> list[float]:
        """Learning rate of each parameter over the configured one."""
        return [1.0] * len(self.parameters())

    def advance(self, step: Step, n_rows: int) -> None:
        """Count `n_rows` more rows trained on."""
        self.rows_since_fired_L += n_rows
        self.rows_since_fired_L.masked_fill_(step.fired_L, 0)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the parameters, by name."""
        return {"rows_since_fired_L": self.rows_since_fired_L}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    @property
    def calibration_rows(self) -> int:
        """Held-out rows that `finish` wants to see; 0 where it needs none."""
        return 0

    def finish(self, batches: Iterable[Tensor]) -> None:  # noqa: B027 - most variants need nothing
        """Set the inference thresholds of the trained crosscoder; `batches` are normalised
        held-out rows x_BP, `calibration_rows` of them in all, in whichever process."""


def is_per_latent(name: str) -> bool:
    """Whether the first axis of the tensor called `name` is the latents."""
    return name.rpartition("_")[2].startswith("L")
