"""What a training run shows of itself while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.progress import Progress
from pipeline.training.trackers import Tracker

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
