"""Optional trackers of a training run, named in `runtime.trackers`. None is required."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from pipeline.errors import ConfigError, PipelineError
from pipeline.progress import LOGS, Progress

PROJECT = "crosscoder-pipeline"
PACKAGE_OF = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run at its start.

    run_id: the same for a run and its continuation after a kill, different for any other run
    start_step: steps done before; config: the configuration as plain data
    """

    run_id: str
    name: str
    start_step: int
    config: Mapping[str, Any]


class Tracker(Protocol):
    """Takes the figures of logged steps."""

    def log(self, step: int, figures: Mapping[str, float]) -> None: ...

    def close(self, *, failed: bool) -> None: ...


class TensorBoard:
    """Event files in `logs/tensorboard/<run_id>`; see them with `tensorboard --logdir
    logs/tensorboard`. A continued run writes to the same folder, and what the killed one logged
    after its last checkpoint is purged."""

    def __init__(self, run: TrackedRun, module: Any) -> None:
        folder = LOGS / "tensorboard" / run.run_id
        purge_step = run.start_step if run.start_step > 0 else None
        self.writer = module.SummaryWriter(str(folder), purge_step=purge_step)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(f"train/{name}", value, step)

    def close(self, *, failed: bool) -> None:  # noqa: ARG002 - event files hold no exit status
        self.writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases. Login, team and mode come from its own settings (`wandb login`,
    WANDB_ENTITY, WANDB_MODE=offline). A continued run goes on under the same id."""

    def __init__(self, run: TrackedRun, module: Any) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        try:
            self.run = module.init(
                project=PROJECT,
                id=run.run_id,
                name=run.name,
                resume="allow",
                dir=str(LOGS),
                config=dict(run.config),
            )
        except module.Error as error:
            raise PipelineError(
                f"Weights & Biases cannot start a run ({error}): run `wandb login`, set "
                "WANDB_MODE=offline, or take wandb out of runtime.trackers"
            ) from error

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=step)

    def close(self, *, failed: bool) -> None:
        self.run.finish(exit_code=1 if failed else 0)


TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


@contextmanager
def open_trackers(names: Sequence[str], run: TrackedRun) -> Iterator[list[Tracker]]:
    """The named trackers, closed at the end. ConfigError where one is not installed."""
    modules = {name: _module(name) for name in names}  # all of them before any starts
    trackers: list[Tracker] = []
    with ExitStack() as stack:
        for name, module in modules.items():
            tracker = TRACKERS[name](run, module)
            trackers.append(tracker)
            stack.push(lambda kind, _e, _t, tracker=tracker: tracker.close(failed=kind is not None))
        yield trackers


def _module(name: str) -> Any:
    try:
        return import_module(PACKAGE_OF[name])
    except ImportError as error:
        raise ConfigError(
            f"runtime.trackers names {name}, which is not installed ({error}): "
            f"`pip install {name}`, or take it out of runtime.trackers"
        ) from error


LABELS = {
    "step": "step",
    "loss": "loss",
    "loss_reconstruction": "rec",
    "loss_sparsity": "l1",
    "loss_n_active": "active",
    "loss_auxk": "auxk",
    "l0": "l0",
    "fve_base": "fve_base",
    "fve_it": "fve_it",
    "n_dead": "dead",
    "data_wait_share": "wait",
}
"""Figures on the progress line and their names there; the log and the trackers get all figures."""


@dataclass(frozen=True)
class LiveView:
    """Hands the figures of logged steps to the progress line, its log and the trackers."""

    progress: Progress
    trackers: Sequence[Tracker]

    def __call__(self, n: int, **figures: float) -> None:
        """`n` more rows are done; `figures` are there on logged steps only."""
        self.progress.advance(n, **figures)
        if figures:
            self.progress.record()
            for tracker in self.trackers:
                tracker.log(int(figures["step"]), figures)
