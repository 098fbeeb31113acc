"""Time of a training step beside the machine's matrix rate and a plain reference step.

    python -m benchmarks.train_step --json OUT              # about a minute on two cores
    python -m benchmarks.train_step --peers --json OUT      # beside public trainers
    python -m benchmarks.train_step --size gemma --rounds 2 # the published size, many minutes

Everything is measured in one run, turn by turn, so that a busy machine slows all alike; times are
medians. On a machine that others use too, `--cpu-time --threads 1` counts processor time instead.
Letters: B rows of a batch, M models, D d_model, L latents, P = M * D.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmarks.peers import Shape, over_fastest_peer, peer_candidates
from pipeline.config.crosscoder import TrainableConfig, TrainConfig
from pipeline.runtime import peak_memory_bytes, set_threads
from pipeline.store.batches import WHOLE, Allocate, Part
from pipeline.training.stream import Batch, Stream
from pipeline.training.training import Training

N_MODELS = 2
Make = Callable[[], Callable[[], None]]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Size:
    """k: latents that BatchTopK keeps per row."""

    batch_rows: int
    d_model: int
    n_latents: int
    k: int = 32


SIZES = {"small": Size(1024, 512, 4096), "gemma": Size(4096, 2304, 16384)}


class ReferenceStep(nn.Module):
    """The step of a plain public trainer: batched einsum, autograd, unfused Adam, every metric on
    every step. For comparison only."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        W_dec = torch.randn(size.n_latents, N_MODELS, size.d_model)
        W_dec = W_dec / W_dec.norm(dim=-1, keepdim=True) * 0.08
        self.W_dec = nn.Parameter(W_dec)
        self.W_enc = nn.Parameter(W_dec.permute(1, 2, 0).contiguous())
        self.b_enc = nn.Parameter(torch.zeros(size.n_latents))
        self.b_dec = nn.Parameter(torch.zeros(N_MODELS, size.d_model))
        self.optimiser = torch.optim.Adam(
            self.parameters(), lr=5e-5, betas=(0.9, 0.999), foreach=False, fused=False
        )

    def step(self, x: Tensor) -> dict[str, float]:
        """One step on normalised rows x [B, M, D]; the figures that public trainers log."""
        f = torch.relu(torch.einsum("bmd,mdl->bl", x, self.W_enc) + self.b_enc)
        x_hat = torch.einsum("bl,lmd->bmd", f, self.W_dec) + self.b_dec
        error = (x_hat.float() - x.float()).pow(2)
        squared = error.sum(dim=(1, 2))
        spread = (x - x.mean(0)).pow(2).sum(dim=(1, 2))
        explained = 1 - squared / spread
        by_model = 1 - error.sum(-1) / (x - x.mean(0)).pow(2).sum(-1)
        norms = self.W_dec.norm(dim=-1).sum(-1)
        sparsity = (f * norms).sum(-1).mean()
        l0 = (f > 0).float().sum(-1).mean()
        loss = squared.mean() + 2.0 * sparsity
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), max_norm=1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return {
            "loss": loss.item(),
            "l2": squared.mean().item(),
            "l1": sparsity.item(),
            "l0": l0.item(),
            "explained": explained.mean().item(),
            "explained_base": by_model[:, 0].mean().item(),
            "explained_it": by_model[:, 1].mean().item(),
        }


@dataclass
class MemoryRows:
    """Rows [n, M, D] in memory, as bfloat16 bits, behind the reader's interface."""

    activations: np.ndarray

    @property
    def n_rows(self) -> int:
        return len(self.activations)

    def batches(
        self,
        batch_rows: int,
        start_row: int = 0,
        stop_row: int | None = None,
        *,
        epoch: int = 0,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        keep: int = 1,  # noqa: ARG002
        allocate: Allocate = np.empty,  # noqa: ARG002
        part: Part = WHOLE,
    ) -> Iterator[dict[str, Any]]:
        stop_row = self.n_rows if stop_row is None else stop_row
        for start in range(start_row, stop_row, batch_rows):
            rows = part(min(batch_rows, stop_row - start))
            yield {"activations": self.activations[start + rows.start : start + rows.stop]}


def random_rows(n_rows: int, d_model: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n_rows, N_MODELS, d_model, generator=generator)
    return rows.bfloat16().view(torch.uint16).numpy()


CPU = torch.device("cpu")


def make_training(
    size: Size,
    kind: str,
    precision: str,
    source: Any,
    folder: Path,
    device: torch.device = CPU,
    **train: Any,
) -> Training:
    """A training job of the named variant; L1 has the published hyperparameters."""
    values: dict[str, Any] = {
        "kind": kind,
        "n_latents": size.n_latents,
        "decoder_init_norm": 0.08,
        "decoder_init_shared": False,
        "decoder_bias_init": "zero",
        "seed": 49,
    }
    penalty = {"sparsity_coefficient": 2.0, "sparsity_warmup_fraction": 0.0}
    own = {
        "l1": penalty,
        "dsf": {
            **penalty,
            "n_shared_latents": size.n_latents // 2,
            "shared_penalty_ratio": 0.15,
        },
        "jumprelu": {
            **penalty,
            "threshold_init": 0.01,  # of scores that are about 0.02 on random rows
            "threshold_learning_rate_ratio": 30.0,
            "bandwidth": 0.01,
        },
        "batch_topk": {
            "k": size.k,
            "k_start": size.k,
            "k_anneal_fraction": 0.0,
            "threshold": "running_mean",
            "threshold_momentum": 0.999,
            "calibration_rows": 1,
            "reconstruction": "squared",
            "auxk_coefficient": 0.03125,
            "k_aux": None,
        },
    }
    loop: dict[str, Any] = {
        "batch_rows": size.batch_rows,
        "n_rows": None,
        "learning_rate": 5e-5,
        "lr_warmup_steps": 0,
        "lr_decay_fraction": 0.2,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "gradient_clip": 1.0,
        "precision": precision,
        "normalisation_rows": size.batch_rows,
        "dead_after_rows": 10_000_000,
        "seed": 49,
        "log_every_steps": 100,
        "checkpoint_every_steps": 10**9,
    }
    return Training(
        crosscoder=TypeAdapter(TrainableConfig).validate_python({**values, **own[kind]}),
        train=TrainConfig(**{**loop, **train}),
        source=source,
        heldout=source,
        folder=folder,
        device=device,
    )


def matrix_products(
    size: Size, dtype: torch.dtype, device: torch.device = CPU
) -> Callable[[], None]:
    """The five matrix products of an L1 step and nothing else, into memory that is there."""
    width = N_MODELS * size.d_model
    x, g = torch.randn(2, size.batch_rows, width, device=device).to(dtype)
    W_enc, W_dec = torch.randn(2, size.n_latents, width, device=device).to(dtype)
    latents = torch.randn(size.batch_rows, size.n_latents, device=device).to(dtype)
    out_BL, out_BP, out_LP = torch.empty_like(latents), torch.empty_like(x), torch.empty_like(W_enc)

    def five() -> None:
        torch.mm(x, W_enc.t(), out=out_BL)
        torch.mm(latents, W_dec, out=out_BP)
        torch.mm(g, W_dec.t(), out=out_BL)
        torch.mm(latents.t(), g, out=out_LP)
        torch.mm(latents.t(), x, out=out_LP)

    return five


def our_step(
    size: Size, kind: str, precision: str, folder: Path, l0: int | None = None
) -> Callable[[], None]:
    """One whole step of the library's loop: normalise, gradients, checks, update, counters.

    l0: shift the encoder's bias so that about this many latents per row are active.
    """
    rows = random_rows(size.batch_rows, size.d_model)
    training = make_training(size, kind, precision, MemoryRows(rows), folder, n_rows=10**9)
    run = training.start()
    batch = next(run.stream.batches())
    if l0 is not None:
        crosscoder = run.variant.crosscoder
        with torch.no_grad():
            pre = crosscoder.preactivations(crosscoder.normalise(batch.x_raw))
            share = 1 - l0 / size.n_latents
            crosscoder.b_enc_L.sub_(pre.flatten()[:1_000_000].quantile(share))
    run.step = 1  # step 0 is logged, and only one step in a hundred is

    def one(batch: Batch = batch) -> None:
        run.train_on(batch)
        run.step = 1

    return one


def normal_rows(size: Size) -> Tensor:
    """A batch [B, M, D] in fp32, as the steps for comparison want it."""
    return torch.from_numpy(random_rows(size.batch_rows, size.d_model)).view(torch.bfloat16).float()


def reference_step(size: Size) -> Callable[[], None]:
    reference = ReferenceStep(size)
    x = normal_rows(size)

    def one() -> None:
        reference.step(x)

    return one


def timed(
    candidates: dict[str, Make], rounds: int, clock: Clock, *, keep: bool = True
) -> dict[str, float]:
    """Median seconds of each candidate, run in turn for `rounds` rounds after one to warm up.

    keep: hold all candidates in memory at once, else make each anew for its turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    kept = {name: make() for name, make in candidates.items()} if keep else {}
    for turn in range(rounds + 1 if keep else rounds):
        for name, make in candidates.items():
            run = kept.get(name) or make()
            if name not in kept:
                run()
            began = clock()
            run()
            if turn > 0 or not keep:
                seconds[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def step_candidates(size: Size, folder: Path) -> dict[str, Make]:
    """Makers of the steps that the ratios need and, at the small size, of L1 once it is sparse."""
    sparse_l0 = round(0.02 * size.n_latents)
    candidates: dict[str, tuple[Callable[..., Callable[[], None]], tuple[Any, ...]]] = {
        "matrix_limit_fp32": (matrix_products, (size, torch.float32)),
        "matrix_limit_bf16": (matrix_products, (size, torch.bfloat16)),
        "reference": (reference_step, (size,)),
        "l1_fp32": (our_step, (size, "l1", "fp32", folder)),
        "l1_bf16": (our_step, (size, "l1", "bf16", folder)),
        "l1_fp32_sparse": (our_step, (size, "l1", "fp32", folder, sparse_l0)),
        "l1_bf16_sparse": (our_step, (size, "l1", "bf16", folder, sparse_l0)),
        "batch_topk_fp32": (our_step, (size, "batch_topk", "fp32", folder)),
        "batch_topk_bf16": (our_step, (size, "batch_topk", "bf16", folder)),
    }
    return {
        name: partial(make, *values)
        for name, (make, values) in candidates.items()
        if size == SIZES["small"] or not name.endswith("_sparse")
    }


def disk_over_memory(size: Size, folder: Path, n_batches: int, rounds: int, clock: Clock) -> float:
    """Rows per second from a store over those from memory, on the fastest step there is."""
    from pipeline.store import StoreReader, StoreWriter, activation_layout

    rows = random_rows(n_batches * size.batch_rows, size.d_model)
    n_rows = len(rows)
    store = folder / "rows.zarr"
    layout = activation_layout(N_MODELS, size.d_model, 4096)
    with StoreWriter.open(store, layout) as writer:
        others = {
            array.name: np.zeros((n_rows, *array.shape), array.dtype)
            for array in layout.arrays
            if array.name != "activations"
        }
        writer.append({"activations": rows, **others})
        writer.finish()
    with StoreReader.open(store) as reader:
        trainings = {
            name: make_training(size, "batch_topk", "bf16", source, folder / name)
            for name, source in (("memory", MemoryRows(rows)), ("disk", reader))
        }
        runs = {name: training.start() for name, training in trainings.items()}

        def epoch(name: str) -> None:
            run = runs[name]
            for batch in Stream(run.stream.source, size.batch_rows, n_rows, 0).batches():
                run.train_on(batch)
                run.step = 1

        seconds = timed(
            {name: lambda name=name: partial(epoch, name) for name in runs}, rounds, clock
        )
    return seconds["memory"] / seconds["disk"]


def peak_of(step: str, size_name: str) -> int:
    """Peak memory, in bytes, of a process that does a few of the named steps and nothing else."""
    command = [sys.executable, "-m", "benchmarks.train_step", "--size", size_name, "--peak", step]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.split()[-1])


def report_peak(step: str, size: Size) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if step == "reference":
            run = reference_step(size)
        elif step == "l1_fp32":
            run = our_step(size, "l1", "fp32", Path(folder))
        else:
            assert step == "nothing", step
            run = lambda: None  # noqa: E731
        for _ in range(3):
            run()
    print(peak_memory_bytes())


def measure(size_name: str, rounds: int, clock: Clock, *, peers: bool) -> dict[str, Any]:
    size = SIZES[size_name]
    # First, while this process is small: a child's peak starts from its parent's.
    idle = peak_of("nothing", size_name)
    peaks = {step: peak_of(step, size_name) - idle for step in ("reference", "l1_fp32")}
    with tempfile.TemporaryDirectory() as folder:
        keep = size_name == "small"
        candidates = step_candidates(size, Path(folder))
        if peers:
            shape = Shape(size.batch_rows, N_MODELS * size.d_model, size.n_latents)
            candidates |= peer_candidates(shape, normal_rows(size).flatten(1))
        seconds = timed(candidates, rounds, clock, keep=keep)
        disk = disk_over_memory(
            size, Path(folder), 24 if size_name == "small" else 3, rounds, clock
        )
    reference = seconds["reference"]
    return {
        "fp32_of_matrix_limit": seconds["matrix_limit_fp32"] / seconds["l1_fp32"],
        "bf16_of_matrix_limit": seconds["matrix_limit_bf16"] / seconds["l1_bf16"],
        "batch_topk_over_reference_fp32": seconds["batch_topk_fp32"] / reference,
        "batch_topk_over_reference_bf16": seconds["batch_topk_bf16"] / reference,
        "disk_over_memory": disk,
        "peak_memory_over_reference": peaks["l1_fp32"] / peaks["reference"],
        **over_fastest_peer(seconds),
        "milliseconds": {name: 1e3 * value for name, value in seconds.items()},
        "peak_bytes": peaks,
        "size": asdict(size),
        "n_threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--rounds", type=int, default=9, help="timed turns of every candidate")
    parser.add_argument("--peers", action="store_true", help="public trainers too")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="processor, not elapsed, time")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    if arguments.peak:
        report_peak(arguments.peak, SIZES[arguments.size])
        return
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    figures = measure(arguments.size, arguments.rounds, clock, peers=arguments.peers)
    for name, value in figures.items():
        print(name, json.dumps(value, indent=2) if isinstance(value, dict) else value)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
