import copy
from pathlib import Path

import pytest
import torch

from pipeline.crosscoder import gathered
from pipeline.training.optimiser import Adam
from tests.standin import card
from tests.training.planted_rows import train_config


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((7, 5), (11,), (3, 4))
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in shapes]


@pytest.mark.parametrize("clip", [None, 1.0, 1e6])
def test_updates_equal_those_of_a_clipped_plain_adam(clip: float | None):
    ours, theirs = parameters(), parameters()
    config = train_config(gradient_clip=clip)
    optimiser = Adam(ours, config)
    plain = torch.optim.Adam(theirs, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(theirs, clip)
        plain.step()
        optimiser.update(learning_rate=1e-2, gradient_norm=optimiser.gradient_norm())
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_a_ratio_multiplies_the_learning_rate_of_its_parameter():
    moved, plain = parameters(), parameters()
    for mine, other in zip(moved, plain, strict=True):
        mine.grad = torch.ones_like(mine)
        other.grad = torch.ones_like(other)
    start = [parameter.clone() for parameter in plain]
    for those, ratios in ((moved, [1.0, 5.0, 1.0]), (plain, [1.0, 1.0, 1.0])):
        adam = Adam(those, train_config(), ratios)
        adam.update(learning_rate=1e-2, gradient_norm=adam.gradient_norm())
    ratio = [
        float(((a - s).norm() / (b - s).norm()).detach())
        for a, b, s in zip(moved, plain, start, strict=True)
    ]
    assert ratio == pytest.approx([1.0, 5.0, 1.0], rel=1e-4)


def test_the_state_is_all_that_the_next_update_depends_on():
    ours = parameters()
    optimiser = Adam(ours, train_config())

    def update(adam: Adam, moved: list[torch.nn.Parameter]) -> None:
        for parameter in moved:
            parameter.grad = torch.ones_like(parameter)
        adam.update(learning_rate=1e-2, gradient_norm=adam.gradient_norm())

    update(optimiser, ours)
    twin = copy.deepcopy(ours)
    taken_up = Adam(twin, train_config())
    taken_up.load_state(optimiser.state())
    update(optimiser, ours)
    update(taken_up, twin)
    assert all(torch.equal(a, b) for a, b in zip(ours, twin, strict=True))


def test_triton_is_no_use_without_a_compiler_and_headers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gathered, "find_spec", lambda name: "found")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gathered.sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setenv("CC", "cc")
    assert not gathered.has_triton.__wrapped__()
    (tmp_path / "Python.h").touch()
    assert gathered.has_triton.__wrapped__()
    monkeypatch.delenv("CC")
    assert not gathered.has_triton.__wrapped__()


@pytest.mark.parametrize("has_triton", [True, False])
def test_triton_moves_parameters_on_a_card_alone(has_triton: bool) -> None:
    with card() as device, pytest.MonkeyPatch.context() as patch:
        on_card, on_cpu = torch.zeros(3, device=device), torch.zeros(3)
        patch.setattr(gathered, "has_triton", lambda: has_triton)
        assert gathered.by_kernels(on_card) == has_triton
        assert not gathered.by_kernels(on_card.double())
        assert not gathered.by_kernels(on_cpu)
