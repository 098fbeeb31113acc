"""The training loop. Letters: B rows, M models, D d_model, L latents, P = M * D."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline import interruption
from pipeline.config.crosscoder import TrainConfig
from pipeline.crosscoder.products import tensor_cores
from pipeline.crosscoder.variant import Moment, Step, Variant
from pipeline.distributed import ALONE, Ranks
from pipeline.errors import NonFiniteError
from pipeline.labels import MODELS
from pipeline.training.checkpoint import Checkpoint, Checkpoints
from pipeline.training.optimiser import Adam
from pipeline.training.schedule import learning_rate
from pipeline.training.stream import Batch, Stream, uploaded


class Report(Protocol):
    """Called after every step with the rows done in it and, on logged steps, its figures."""

    def __call__(self, n: int, **figures: float) -> None: ...


@dataclass
class Run:
    """One training run: what moves (variant, optimiser, step, rows, curve) and what it needs.

    mean_MD: mean normalised activation, the centre of the explained variance
    in_background: whether checkpoints go to the disk while the next steps compute, out of a copy in
        the host's memory. For one process with a GPU: ranks must meet to write one, and a CPU
        would write with the processors that compute.
    """

    variant: Variant
    stream: Stream
    config: TrainConfig
    mean_MD: Tensor
    checkpoints: Checkpoints
    in_background: bool = False

    def __post_init__(self) -> None:
        self.optimiser = Adam.of(self.variant, self.config)
        self._writer = ThreadPoolExecutor(1, "checkpoint-writer")
        self._writing: Future[None] | None = None
        self.step, self.n_rows = 0, 0
        self._saved_step: int | None = None
        self.curve: list[dict[str, float]] = []

    def resume(self) -> bool:
        """Take up the latest checkpoint; False where there is none."""
        checkpoint = self.checkpoints.load()
        if checkpoint is None:
            return False
        for prefix, load in self._parts().items():
            prefix += "."
            load(
                {
                    name.removeprefix(prefix): tensor
                    for name, tensor in checkpoint.tensors.items()
                    if name.startswith(prefix)
                }
            )
        self.step, self.n_rows = checkpoint.step, checkpoint.n_rows
        self._saved_step = self.step
        self.curve = checkpoint.curve
        return True

    def _parts(self) -> dict[str, Callable[[dict[str, Tensor]], object]]:
        return {
            "crosscoder": self.variant.crosscoder.load_state_dict,
            "variant": self.variant.load_state,
            "optimiser": self.optimiser.load_state,
            "run": lambda state: self.mean_MD.copy_(state["mean_MD"]),
        }

    def save_checkpoint(self) -> None:
        """Write where the run stands, unless that is on disk or on its way there. Raises what went
        wrong with the one before."""
        self.wait_for_checkpoint()
        if self._saved_step == self.step:
            return
        parts = {
            "crosscoder": self.variant.crosscoder.state_dict(),
            "variant": self.variant.state(),
            "optimiser": self.optimiser.state(),
            "run": {"mean_MD": self.mean_MD},
        }
        tensors = {
            f"{part}.{name}": tensor
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        self._saved_step = self.step
        if not self.in_background:
            self.checkpoints.save(Checkpoint(tensors, self.step, self.n_rows, self.curve))
            return
        # The steps to come change the tensors and lengthen the curve: what is written is a copy.
        host = {name: torch.empty_like(t, device="cpu").copy_(t) for name, t in tensors.items()}
        checkpoint = Checkpoint(host, self.step, self.n_rows, list(self.curve))
        self._writing = self._writer.submit(self.checkpoints.save, checkpoint)

    def wait_for_checkpoint(self) -> None:
        """Return when the checkpoint that is being written is on disk; raises what went wrong."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def train(self, report: Report) -> None:
        """Train on the rest of the stream, and leave a checkpoint at its end or where a signal asks
        to stop (Interrupted).

        Raises NonFiniteError before an update that would spoil the weights.
        """
        # Between two stretches rows may be made, which takes long: a signal ends that at once.
        for stop_row in self.stream.stretches(self.n_rows):
            with interruption.held() as is_asked:
                self._train(stop_row, report, is_asked)
                self.save_checkpoint()
                self.wait_for_checkpoint()

    def _train(self, stop_row: int, report: Report, is_asked: Callable[[], bool]) -> None:
        """Step by step up to a row of the stream; a signal to any process of the job ends it after
        a step, saved."""
        began = time.perf_counter()
        n_rows_before, waited_before = self.n_rows, self.stream.waited_seconds
        device = self.variant.crosscoder.W_dec_LP.device
        for batch in uploaded(self.stream.batches(self.n_rows, stop_row), device):
            figures = self.train_on(batch)
            if figures:
                elapsed = time.perf_counter() - began
                waited = self.stream.waited_seconds - waited_before
                figures |= {
                    "rows_per_second": (self.n_rows - n_rows_before) / elapsed,
                    "data_wait_share": waited / elapsed,
                }
            report(len(batch), **figures)
            if self.step % self.config.checkpoint_every_steps == 0:
                self.save_checkpoint()
            if self.variant.mesh.all.total(int(is_asked())):
                self.save_checkpoint()
                self.wait_for_checkpoint()
                interruption.stop()

    def train_on(self, batch: Batch) -> dict[str, float]:
        """One step; the point of the curve where the step is logged, else nothing."""
        moment = Moment(self.step, self.stream.n_steps)
        x_BP = self._normalised(batch)
        with tensor_cores(self.config.precision):
            step = self.variant.reduced(self.variant.step(x_BP, moment, len(batch)))
        gradient_norm = self.optimiser.gradient_norm()
        self._check_finite(step, gradient_norm, batch)
        rate = learning_rate(self.config, moment)
        figures: dict[str, float] = {}
        if self._is_logged():
            figures = {
                "step": self.step,
                "n_rows": self.n_rows + len(batch),
                **self._loss_figures(step),
                **self._fit_figures(step, x_BP, len(batch)),
                "gradient_norm": float(gradient_norm),
                "learning_rate": rate,
                **self.variant.schedule(moment),
            }
        self.optimiser.update(learning_rate=rate, gradient_norm=gradient_norm)
        self.variant.advance(step, len(batch))
        self.step += 1
        self.n_rows += len(batch)
        if figures:
            figures["n_dead"] = self.variant.mesh.latents.total(int(self._dead().sum()))
            self.curve.append(dict(figures))
        return figures

    def _is_logged(self) -> bool:
        done = self.step + 1
        return self.step % self.config.log_every_steps == 0 or done == self.stream.n_steps

    def _normalised(self, batch: Batch) -> Tensor:
        return self.variant.crosscoder.normalise(batch.x_raw).flatten(1)

    def _check_finite(self, step: Step, gradient_norm: Tensor, batch: Batch) -> None:
        values = {**step.loss.terms, "gradient norm": gradient_norm}
        stacked = torch.stack([value.float() for value in values.values()])
        finite = torch.isfinite(stacked).tolist()
        bad = [name for name, is_finite in zip(values, finite, strict=True) if not is_finite]
        if bad:
            # Before the first update no learning rate has done anything.
            remedy = (
                "lower train.learning_rate (for the dictionary on the difference "
                "baselines.learning_rate)"
                if self.step
                else "lower decoder_init_norm and the coefficients of the crosscoder's section"
            )
            raise NonFiniteError(
                f"step {self.step}: {bad[0]} is {float(values[bad[0]])} on rows "
                f"{batch.start_row} to {batch.stop_row} of epoch {batch.epoch}, expected a finite "
                f"number; nothing was updated and the last checkpoint ({self.checkpoints.path}) "
                f"stands: {remedy}, or look at those rows of the store"
            )

    def _loss_figures(self, step: Step) -> dict[str, float]:
        terms = {f"loss_{name}": float(value) for name, value in step.loss.terms.items()}
        return {"loss": float(step.loss.total), **terms}

    def _fit_figures(self, step: Step, x_BP: Tensor, n_rows: int) -> dict[str, float]:
        mesh = self.variant.mesh
        fve_M = explained_variance(step.residual_BP, x_BP, self.mean_MD, mesh.rows)
        n_active = mesh.all.total(int(step.latents.count_nonzero()))
        names = MODELS if len(fve_M) == len(MODELS) else range(len(fve_M))
        explained = {f"fve_{name}": float(fve) for name, fve in zip(names, fve_M, strict=True)}
        return {"l0": n_active / n_rows, **explained}

    def _dead(self) -> Tensor:
        return self.variant.rows_since_fired_L >= self.config.dead_after_rows


def explained_variance(
    residual_BP: Tensor, x_BP: Tensor, mean_MD: Tensor, rows: Ranks = ALONE
) -> Tensor:
    """Fraction of variance explained per model [M], a ratio of sums over the rows of all ranks:
    1 - sum ||x_hat - x||^2 / sum ||x - mean||^2, the mean that of the data, not of the residual."""
    shape = (len(x_BP), *mean_MD.shape)
    error_M = residual_BP.view(shape).square().sum((0, 2))
    spread_M = (x_BP.view(shape) - mean_MD).square().sum((0, 2))
    rows.sum(error_M, spread_M)
    return 1 - error_M / spread_M
