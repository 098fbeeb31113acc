"""Checkpoints: several files at a time, taken up whole or not at all."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts import sync, write_bytes
from pipeline.crosscoder.tensor_files import read_slices, write_tensors
from pipeline.crosscoder.variant import is_per_latent
from pipeline.distributed import ONE_PROCESS, Mesh, Ranks

LATEST = "latest.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: everything that the steps to come depend on.

    tensors: weights, optimiser, counters and thresholds by name; of names in `_L` and `_LP` the
        latents of this rank
    step: steps done; n_rows: rows trained on; curve: the training curve so far
    """

    tensors: Mapping[str, Tensor]
    step: int
    n_rows: int
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoints:
    """The latest checkpoint of a run of `n_latents` latents, in `folder`.

    `step-N/part-R.safetensors` holds the latents of rank R. Once all parts are on disk,
    `latest.json` is replaced, which names them, and the checkpoint before is removed. So at most
    two exist at any moment, and a kill of any rank at any moment leaves one that is whole. Any
    number of ranks can take it up, however its latents were divided.
    """

    folder: Path
    n_latents: int
    mesh: Mesh = ONE_PROCESS

    @property
    def path(self) -> Path:
        """The file that names the latest checkpoint."""
        return self.folder / LATEST

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the latest checkpoint. Called by every rank."""
        latents = self.mesh.latents
        own = self.folder / f"step-{checkpoint.step}"
        if self.mesh.rows.is_first:
            own.mkdir(parents=True, exist_ok=True)
            write_tensors(_part(own, latents.rank), checkpoint.tensors)
        latents.meet()
        if self.mesh.all.is_first:
            sync(self.folder)
            latest: dict[str, Any] = {
                "folder": own.name,
                "n_parts": latents.size,
                "step": checkpoint.step,
                "n_rows": checkpoint.n_rows,
                "curve": checkpoint.curve,
            }
            write_bytes(self.path, json.dumps(latest).encode())  # keeps the order of the columns
            for other in self.folder.glob("step-*"):
                if other != own:
                    shutil.rmtree(other)

    def load(self) -> Checkpoint | None:
        """The latest checkpoint, or None at the start of a run."""
        if not self.path.exists():
            return None
        latest = json.loads(self.path.read_text())
        tensors = dict(self._tensors(self.folder / latest["folder"], latest["n_parts"]))
        return Checkpoint(tensors, *(latest[name] for name in ("step", "n_rows", "curve")))

    def _tensors(self, folder: Path, n_parts: int) -> Iterator[tuple[str, Tensor]]:
        """This rank's latents of every tensor, out of the parts that hold them."""
        wanted = self.mesh.latents.part(self.n_latents)
        pieces: dict[str, list[Tensor]] = {}
        for rank in range(n_parts):
            # The ranks that wrote it may have been more or fewer than those that read it. Of each
            # part the overlap with this rank's latents is read, counted from the part's first one.
            held = Ranks(rank, n_parts).part(self.n_latents)
            start, stop = max(held.start, wanted.start), min(held.stop, wanted.stop)
            overlap = slice(start - held.start, stop - held.start) if start < stop else None
            # Tensors without latents are equal in all parts, and are read from the first.
            common = slice(None) if rank == 0 else None
            rows = partial(_rows_of, overlap, common)
            for name, tensor in read_slices(_part(folder, rank), rows):
                pieces.setdefault(name, []).append(tensor)
        for name, found in pieces.items():
            yield name, torch.cat(found) if is_per_latent(name) else found[0]


def _rows_of(per_latent: slice | None, common: slice | None, name: str) -> slice | None:
    return per_latent if is_per_latent(name) else common


def _part(folder: Path, rank: int) -> Path:
    return folder / f"part-{rank}.safetensors"
