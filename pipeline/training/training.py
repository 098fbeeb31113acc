"""A training job goes from a shuffled store to a crosscoder's folder, and on after a kill."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts import write_bytes
from pipeline.columns import csv_bytes, table_of
from pipeline.config.crosscoder import TrainableConfig, TrainConfig
from pipeline.crosscoder.initialise import initial_crosscoder
from pipeline.crosscoder.layouts.own import CONFIG, read_config
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.variant import Variant, is_per_latent
from pipeline.crosscoder.variants import build_variant
from pipeline.distributed import ONE_PROCESS, Mesh
from pipeline.errors import ConfigError
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.loop import Run
from pipeline.training.statistics import (
    MEDIAN_ROWS,
    Normalisation,
    first_rows,
    geometric_median,
    measure_normalisation,
)
from pipeline.training.stream import ACTIVATIONS, Rounds, RowSource, Stream, as_tensor

CHECKPOINT_FOLDER = "checkpoints"
CURVE = "training.csv"


def read_outcome(folder: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Counts and facts of the finished crosscoder in `folder`; removes what training left."""
    shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
    config = read_config(folder)
    training = config["provenance"]["training"]
    shape = {name: config[name] for name in ("kind", "n_models", "d_model", "n_latents")}
    counts = {name: training[name] for name in ("n_rows", "n_steps")}
    return counts, {**shape, "last": training["last"]}


def is_finished(folder: Path) -> bool:
    """Whether `folder` holds a whole crosscoder: its `config.json` is written last."""
    return (folder / CONFIG).exists()


@dataclass(frozen=True)
class Training:
    """A training job: which crosscoder, how, on which rows, in which folder, by which processes.

    source: the shuffled rows; heldout: rows kept apart, in any order, for calibration
    rounds: what makes the shuffled rows, where they exist a part at a time
    """

    crosscoder: TrainableConfig
    train: TrainConfig
    source: RowSource
    heldout: RowSource
    folder: Path
    device: torch.device
    mesh: Mesh = ONE_PROCESS
    rounds: Rounds | None = None

    def __post_init__(self) -> None:
        if self.train.precision == "tf32" and self.device.type == "cpu":
            raise ConfigError(
                "train.precision is tf32, which a CPU does not have: set train.precision=fp32, or "
                "bf16 for products at about twice the rate"
            )
        n_latents, size = self.crosscoder.n_latents, self.mesh.latents.size
        if n_latents < size:
            raise ConfigError(
                f"crosscoder.n_latents ({n_latents}) must be >= the number of processes ({size}) "
                "with runtime.shard=latents: start fewer, or set runtime.shard=data"
            )

    @property
    def n_rows(self) -> int:
        """Rows to train on in all."""
        return self.train.n_rows or self.source.n_rows

    def stream(self, n_rows: int | None = None) -> Stream:
        """The rows trained on, or the first `n_rows` of them."""
        train = self.train
        return Stream(self.source, train.batch_rows, n_rows or self.n_rows, train.seed, self.rounds)

    def write(self, run: Run, *, provenance: Mapping[str, Any]) -> None:
        """Set the inference thresholds, then write the trained crosscoder and its training curve
        to the folder, `config.json` last. The first rank writes what all have."""
        run.variant.finish(self._calibration_batches(run.variant))
        crosscoder = self.whole(run.variant.crosscoder)
        if crosscoder is not None:
            write_bytes(self.folder / CURVE, csv_bytes(table_of(run.curve, run.curve[0])))
            facts = {"n_rows": run.n_rows, "n_steps": run.step, "last": run.curve[-1]}
            crosscoder.provenance = {**provenance, "training": facts}
            crosscoder.save(self.folder)

    def whole(self, own: Crosscoder) -> Crosscoder | None:
        """The crosscoder of all latents on the first rank, on the CPU where they were divided."""
        latents = self.mesh.latents
        if latents.size == 1:
            return own if self.mesh.rows.is_first else None
        whole = None
        if latents.is_first:
            whole = Crosscoder(
                own.n_models, own.d_model, self.crosscoder.n_latents, kind=own.kind
            ).requires_grad_(False)
        targets = {} if whole is None else whole.state_dict()
        for name, tensor in own.state_dict().items():
            if is_per_latent(name):
                latents.collect(tensor, targets.get(name))
            elif whole is not None:
                targets[name].copy_(tensor)
        return whole

    def start(self) -> Run:
        """The run at its latest checkpoint, or at step 0."""
        n_latents, mesh = self.crosscoder.n_latents, self.mesh
        checkpoints = Checkpoints(self.folder / CHECKPOINT_FOLDER, n_latents, mesh)
        n_models, d_model = self._shape()
        is_resumed = mesh.all.from_first(checkpoints.path.exists)
        if is_resumed:
            measured = Normalisation(torch.ones(n_models), torch.zeros(n_models, d_model), 0)
        else:
            measured = self.measure()
        crosscoder = initial_crosscoder(
            self.crosscoder,
            n_models=n_models,
            d_model=d_model,
            activation_scale=measured.scale_M,
            latents=mesh.latents,
        )
        if self.crosscoder.decoder_bias_init == "geometric_median" and not is_resumed:
            self._centre(crosscoder)
        variant = build_variant(
            crosscoder.to(self.device),
            self.crosscoder,
            precision=self.train.precision,
            dead_after_rows=self.train.dead_after_rows,
            mesh=mesh,
        )
        mean_MD = (measured.mean_MD * measured.scale_M[:, None]).to(self.device, torch.float32)
        on_gpu = self.device.type == "cuda"
        stream = replace(self.stream(), part=mesh.rows.part, page_locked=on_gpu)
        in_background = on_gpu and mesh.all.size == 1
        run = Run(variant, stream, self.train, mean_MD, checkpoints, in_background)
        run.resume()
        return run

    def measure(self) -> Normalisation:
        """The normalisation, measured over the configured rows or one epoch, whichever is less."""
        wanted = self.train.normalisation_rows or self.n_rows
        n_rows = min(wanted, self.n_rows, self.source.n_rows)
        if self.rounds is not None:  # the first round is a sample of all sequences
            n_rows = self.rounds.prepare(self.train.seed, 0, n_rows)
        return measure_normalisation(self.stream(n_rows), self.mesh.all)

    def _centre(self, crosscoder: Crosscoder) -> None:
        rows = crosscoder.normalise(first_rows(self.stream(), MEDIAN_ROWS))
        with torch.no_grad():
            crosscoder.b_dec_P.copy_(geometric_median(rows.view(len(rows), -1)))
        self.mesh.all.broadcast(crosscoder.b_dec_P.detach())

    def _calibration_batches(self, variant: Variant) -> Iterator[Tensor]:
        """Normalised held-out rows [B, P]: blocks spread evenly over the whole store, because its
        sources lie one after the other. Ranks that hold other rows take turns."""
        n_wanted = min(variant.calibration_rows, self.heldout.n_rows)
        n_blocks = -(-n_wanted // self.train.batch_rows)
        for block in range(self.mesh.rows.rank, n_blocks, self.mesh.rows.size):
            first, last = (i * n_wanted // n_blocks for i in (block, block + 1))
            start = block * self.heldout.n_rows // n_blocks
            rows = next(self.heldout.batches(last - first, start, start + last - first))
            x_raw = as_tensor(rows[ACTIVATIONS]).to(self.device)
            yield variant.crosscoder.normalise(x_raw).view(len(x_raw), -1)

    def _shape(self) -> tuple[int, int]:
        n_models, d_model = next(self.heldout.batches(1, 0, 1))[ACTIVATIONS].shape[1:]
        return n_models, d_model
