"""How often a training step makes the host wait for a GPU, counted on the CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import distributed
from pipeline.crosscoder import products, selection
from pipeline.crosscoder.batch_topk import BatchTopK
from pipeline.distributed import Mesh, Ranks
from pipeline.training.loop import Run
from tests.training.kernels import move_by, update
from tests.training.planted_rows import make_training
from tests.waits import waits

N_STEPS = 6


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every branch that asks where a tensor lies goes the way of a GPU."""
    for module in (products, selection):
        monkeypatch.setattr(module, "on_cpu", lambda tensor: False)


def counted(run: Run) -> dict[str, int]:
    """The waits of the last of some steps, which is not logged."""
    batches = run.stream.batches()
    for _ in range(N_STEPS):
        run.train_on(next(batches))
    if isinstance(run.variant, BatchTopK):  # so few rows differ much from batch to batch
        run.variant.guess.mul_(0.5)
    with waits() as found:
        assert run.train_on(next(batches)) == {}
    return found.found


def started(folder: Path, kind: str, **train: Any) -> Run:
    return make_training(folder, kind, batch_rows=64, log_every_steps=1000, **train).start()


@pytest.mark.parametrize("kind", ["l1", "dsf", "jumprelu"])
def test_a_step_waits_once_to_see_that_all_is_finite(tmp_path: Path, kind: str) -> None:
    assert counted(started(tmp_path, kind)) == {"tolist": 1}


@pytest.mark.parametrize("dead_after_rows", [64, 10**6])
def test_a_batch_topk_step_waits_three_times(tmp_path: Path, dead_after_rows: int) -> None:
    run = started(tmp_path, "batch_topk", dead_after_rows=dead_after_rows)
    assert counted(run) == {"tolist": 2, "nonzero": 1}


@pytest.mark.parametrize(
    ("kind", "expected"), [("l1", {"tolist": 1}), ("batch_topk", {"tolist": 2, "nonzero": 1})]
)
def test_a_kernel_that_moves_the_weights_adds_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: dict[str, int]
) -> None:
    move_by(monkeypatch, update)
    assert counted(started(tmp_path, kind, precision="bf16")) == expected


def test_several_ranks_wait_no_more_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other rank holds nothing and adds nothing."""
    monkeypatch.setattr(distributed, "_all_reduce", lambda tensor, op=None: None)
    monkeypatch.setattr(distributed, "_begin_all_reduce", lambda tensor: lambda: None)
    run = started(tmp_path, "batch_topk")
    run.variant.mesh = Mesh(rows=Ranks(0, 2))
    assert counted(run) == {"tolist": 2, "nonzero": 1}


def test_the_way_of_a_gpu_gives_the_same_entries(tmp_path: Path) -> None:
    mask = torch.rand(40, 7, generator=torch.Generator().manual_seed(0)) > 0.6
    n = int(mask.sum())
    assert torch.equal(selection.positions(mask, n), mask.flatten().nonzero().squeeze(1))
    assert len(selection.positions(mask[:0], 0)) == 0
