"""Adam's kernel: what it computes (in Triton's interpreter), and whole trainings that it moves."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter

from pipeline import distributed
from pipeline.crosscoder.products import Products, RoundedCopy
from pipeline.distributed import Mesh, Ranks
from pipeline.training.loop import Run
from pipeline.training.optimiser import Adam
from tests.interpreted import fresh, needs_triton
from tests.training.kernels import FORMS, NAME, Update, kernel, move_by
from tests.training.planted_rows import make_training, train_config

KINDS = ["l1", "dsf", "jumprelu", "batch_topk"]


@pytest.fixture(scope="module", params=FORMS)
def update(request: pytest.FixtureRequest) -> Iterator[Update]:
    with kernel(request.param) as found:
        yield found


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.sampled_from([(7, 5), (1,), (1024,), (3, 700)]), min_size=1, max_size=3),
    clip=st.sampled_from([None, 0.1, 1e6]),
    steps=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 1e4]),
)
def test_it_moves_as_pytorchs_adam_and_rounds_to_the_copy(
    update: Update,
    shapes: list[tuple[int, ...]],
    clip: float | None,
    steps: int,
    seed: int,
    scale: float,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    ratios = [1.0, 5.0, 1.0][: len(shapes)]
    adams = {"kernel": adam(start, ratios, clip), "pytorch": adam(start, ratios, clip)}
    for _ in range(steps):
        drawn = [scale * torch.randn(shape, generator=generator) for shape in shapes]
        for name, one in adams.items():
            for parameter, gradient in zip(one.parameters, drawn, strict=True):
                parameter.grad = gradient.clone()
            norm = one.gradient_norm()
            with pytest.MonkeyPatch.context() as patch:
                if name == "kernel":
                    move_by(patch, update)
                one.update(learning_rate=1e-2, gradient_norm=norm)
        for parameter, gradient in zip(adams["kernel"].parameters, drawn, strict=True):
            assert parameter.grad is not None
            assert torch.equal(parameter.grad, gradient), "the gradient is not scaled in memory"
        for copy in adams["kernel"].copies.values():
            assert torch.equal(copy.values, copy.parameter.bfloat16())
    ours, theirs = (one.state() for one in adams.values())
    for name, tensor in theirs.items():
        assert (ours[name] - tensor).double().norm() <= 1e-6 * tensor.double().norm(), name
    for mine, other in zip(adams["kernel"].parameters, adams["pytorch"].parameters, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def adam(start: list[Tensor], ratios: list[float], clip: float | None) -> Adam:
    """Adam of parameters of which all but the second have a rounded copy."""
    parameters = [Parameter(values.clone()) for values in start]
    copies = {p: RoundedCopy(p, torch.bfloat16) for p in parameters[::2]}
    return Adam(parameters, train_config(gradient_clip=clip), ratios, copies=copies)


@needs_triton
def test_compiled_for_a_card_it_reads_each_tensor_once_and_rounds_to_nearest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    import triton  # pyright: ignore[reportMissingImports]
    from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
    from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

    kernel = fresh(monkeypatch, NAME)._adam
    types = dict.fromkeys(kernel.arg_names, "fp32")
    read = ("parameter", "gradient", "mean", "square", "divisor", "unbias")
    types |= dict.fromkeys(read, "*fp32") | {"copy": "*bf16", "n": "i32", "BLOCK": "constexpr"}
    source = ASTSource(fn=kernel, signature=types, constexprs={"BLOCK": 1024})
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    lanes = 1024 // 128  # weights of a thread
    assert code.count("ld.global") == 4 * lanes + 3, "four tensors, divisor and two of unbias"
    assert code.count("st.global") == 4 * lanes
    assert "cvt.rn.bf16" in code


class Watched:
    """Counts how often weights are rounded for a step; in every step the copies must be right."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.n_roundings, self.n_steps = 0, 0
        begin, taken = Products.begin, RoundedCopy.taken

        def counted(copy: RoundedCopy) -> Tensor:
            before = copy.values._version
            values = taken(copy)
            self.n_roundings += values._version - before
            return values

        def checked(products: Products) -> None:
            begin(products)
            self.n_steps += 1
            assert torch.equal(products.W_enc_LP, products.crosscoder.W_enc_LP.bfloat16())
            assert torch.equal(products.W_dec_LP, products.crosscoder.W_dec_LP.bfloat16())

        patch.setattr(RoundedCopy, "taken", counted)
        patch.setattr(Products, "begin", checked)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, update: Update) -> Watched:
    move_by(monkeypatch, update)
    return Watched(monkeypatch)


def started(folder: Path, kind: str, **changes: Any) -> Run:
    values = {"batch_rows": 32, "precision": "bf16", "log_every_steps": 1000, **changes}
    return make_training(folder, kind, **values).start()


def go_on(run: Run, n_steps: int) -> None:
    for batch in islice(run.stream.batches(run.n_rows), n_steps):
        run.train_on(batch)


def weights(run: Run) -> dict[str, Tensor]:
    state = {**run.variant.crosscoder.state_dict(), **run.variant.state(), **run.optimiser.state()}
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_rounded_at_the_start_alone(
    tmp_path: Path, watched: Watched, kind: str
) -> None:
    go_on(started(tmp_path, kind), 6)
    assert (watched.n_steps, watched.n_roundings) == (6, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_is_taken_up_ends_in_the_same_bits(
    tmp_path: Path, watched: Watched, kind: str
) -> None:
    whole, broken = started(tmp_path / "whole", kind), started(tmp_path / "broken", kind)
    go_on(whole, 9)
    go_on(broken, 4)
    broken.save_checkpoint()
    taken_up = started(tmp_path / "broken", kind)
    go_on(taken_up, 5)
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(taken_up)[name], tensor), name


def test_a_run_that_goes_back_to_its_checkpoint_takes_its_weights(
    tmp_path: Path, watched: Watched
) -> None:
    run = started(tmp_path, "l1")
    go_on(run, 3)
    run.save_checkpoint()
    go_on(run, 2)
    expected = weights(run)
    assert run.resume()
    go_on(run, 2)
    assert all(torch.equal(weights(run)[name], tensor) for name, tensor in expected.items())
    assert watched.n_roundings == 4


def test_ranks_of_latents_round_the_latents_that_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: Watched
) -> None:
    """The second of two, of a checkpoint of one; the first adds nothing."""
    monkeypatch.setattr(distributed, "_all_reduce", lambda tensor, op=None: None)
    monkeypatch.setattr(Ranks, "from_first", lambda ranks, make: make())
    run = started(tmp_path, "l1")
    go_on(run, 2)
    run.save_checkpoint()
    training = make_training(tmp_path, "l1", precision="bf16", log_every_steps=1000)
    half = replace(training, mesh=Mesh(latents=Ranks(1, 2))).start()
    W_dec_LP = half.variant.crosscoder.W_dec_LP
    assert torch.equal(W_dec_LP, run.variant.crosscoder.W_dec_LP[20:])
    go_on(half, 3)
    assert half.variant.products.W_dec_LP.shape == W_dec_LP.shape
    assert watched.n_roundings == 4


def test_in_full_precision_there_is_no_copy(tmp_path: Path, update: Update) -> None:
    ends = []
    for is_kernel in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if is_kernel:
                move_by(patch, update)
            run = started(tmp_path / str(is_kernel), "jumprelu", precision="fp32")
            go_on(run, 5)
        assert not run.optimiser.copies
        ends.append(weights(run))
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, rtol=1e-4, atol=1e-5)
