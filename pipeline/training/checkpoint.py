"""Checkpoints: one file at a time, written whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.crosscoder.files import read_tensors, write_tensors

STATE = "state"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: everything that the steps to come depend on.

    tensors: weights, optimiser, counters and thresholds by name
    step: steps done; n_rows: rows trained on; curve: the training curve so far
    """

    tensors: Mapping[str, Tensor]
    step: int
    n_rows: int
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoints:
    """The latest checkpoint of a run, in `folder`.

    A new one is written beside the last and then replaces it, so at most two exist at any moment
    and a kill at any moment leaves one that is whole.
    """

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the latest checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "step": checkpoint.step,
            "n_rows": checkpoint.n_rows,
            "curve": checkpoint.curve,
        }
        write_tensors(self.path, checkpoint.tensors, {STATE: json.dumps(state)})

    def load(self) -> Checkpoint | None:
        """The latest checkpoint, or None at the start of a run."""
        if not self.path.exists():
            return None
        tensors, metadata = read_tensors(self.path)
        return Checkpoint(tensors, **json.loads(metadata[STATE]))
