"""A training job in two processes, a card each, against one process.

    python -m torch.distributed.run --standalone --nproc-per-node=2 -m benchmarks.gpu_check.ranks \
        FOLDER DEVICE        # what `two_ranks` starts
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.gpu_check.checks import Finding, left_out, within
from benchmarks.gpu_check.steps import (
    KINDS,
    MOVEMENT_LIMIT,
    SMALL,
    job,
    moved_apart,
)
from benchmarks.train_step import CPU
from pipeline.distributed import Mesh, joined, world
from pipeline.runtime import resolve_device, set_threads

SHARDS = ("data", "latents")
ANSWER_SECONDS = 60.0
JOB_SECONDS = 120.0


def two_ranks(device: torch.device) -> Iterator[Finding]:
    """Every variant, rows and latents divided; left out where there is one card only."""
    name = "two ranks"
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        yield left_out(name, "one card")
        return
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node=2", "-m", __name__, folder, device.type]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=JOB_SECONDS)
        except subprocess.TimeoutExpired:
            yield Finding(name, False, {"raised": f"no answer within {JOB_SECONDS:.0f} s"})
            return
        if done.returncode:
            yield Finding(name, False, {"raised": done.stderr.strip()[-500:]})
            return
        yield from compared(device, Path(folder))


def compared(device: torch.device, folder: Path) -> Iterator[Finding]:
    """What the two ranks left in `folder` against one process on the same device."""
    for kind in KINDS:
        start, expected = (weights(kind, device, Mesh(), n) for n in (0, None))
        for shard in SHARDS:
            found = torch.load(folder / f"{kind}-{shard}.pt", weights_only=True)
            apart = {"difference": moved_apart(found, expected, start)}
            limit = {"difference": MOVEMENT_LIMIT["fp32"]}
            yield within(f"two ranks, {kind}, runtime.shard={shard}", apart, limit)


def weights(
    kind: str, device: torch.device, mesh: Mesh, n_steps: int | None = None
) -> dict[str, torch.Tensor]:
    """The whole crosscoder's weights after the job, or before it; on the first rank."""
    with TemporaryDirectory() as own:
        training = replace(job(kind, "fp32", SMALL, device, Path(own)), mesh=mesh)
        run = training.start()
        if n_steps is None:
            run.train(lambda *_n, **_figures: None)
        whole = training.whole(run.variant.crosscoder)
        return {} if whole is None else {n: t.cpu() for n, t in whole.state_dict().items()}


def main(folder: Path, device_name: str) -> None:
    set_threads(1)
    with joined(ANSWER_SECONDS, device_name, "check"):
        device = resolve_device(device_name) if device_name == "cuda" else CPU
        for kind in KINDS:
            for shard in SHARDS:
                found = weights(kind, device, Mesh.of(world(), shard))
                if world().is_first:
                    torch.save(found, folder / f"{kind}-{shard}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
