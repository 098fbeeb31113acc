"""Every variant: one loss, its gradient by hand, no side effects."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crosscoder.initialise import initial_crosscoder
from pipeline.crosscoder.variant import Moment, Variant
from pipeline.crosscoder.variants import build_variant
from tests.training.planted_rows import crosscoder_config

KINDS = ["l1", "dsf", "jumprelu", "batch_topk"]
N_MODELS, D_MODEL = 2, 7
MOMENT = Moment(step=3, n_steps=20)


def make_variant(
    kind: str, *, dtype: torch.dtype = torch.float64, seed: int = 3, **changes: object
):
    """A variant in the middle of training: perturbed weights, some latents dead."""
    config = crosscoder_config(kind, seed=seed)
    crosscoder = initial_crosscoder(
        config, n_models=N_MODELS, d_model=D_MODEL, activation_scale=torch.ones(2), dtype=dtype
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in crosscoder.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=dtype)
            parameter += 0.1 * noise
        if kind == "dsf":
            crosscoder.W_dec[:16] = crosscoder.W_dec[:16, :1]
    variant = build_variant(crosscoder, config, precision="fp32", dead_after_rows=100)
    variant.rows_since_fired_L[::3] = 1000
    return variant


def rows(seed: int = 0, n_rows: int = 33, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_rows, N_MODELS * D_MODEL, generator=generator, dtype=dtype)


def autograd_gradients(variant: Variant, x_BP: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(variant.loss(x_BP, MOMENT).total, variant.parameters()))


def step_gradients(variant: Variant, x_BP: torch.Tensor) -> list[torch.Tensor]:
    variant.step(x_BP, MOMENT)
    return [p.grad.clone() for p in variant.parameters() if p.grad is not None]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_hand_written_gradient_equals_autograd(kind: str, seed: int):
    variant = make_variant(kind, seed=seed)
    x_BP = rows(seed)
    for by_hand, by_autograd in zip(
        step_gradients(variant, x_BP), autograd_gradients(variant, x_BP), strict=True
    ):
        torch.testing.assert_close(by_hand, by_autograd, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_total_is_the_weighted_sum_of_the_terms(kind: str):
    variant = make_variant(kind)
    for loss in (variant.loss(rows(), MOMENT), variant.step(rows(), MOMENT).loss):
        expected = sum(loss.weights[name] * term.item() for name, term in loss.terms.items())
        assert loss.total.item() == pytest.approx(expected, rel=1e-12)
        assert loss.terms.keys() == loss.weights.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_step_and_loss_agree_on_every_term(kind: str):
    variant = make_variant(kind)
    by_hand, readable = variant.step(rows(), MOMENT).loss, variant.loss(rows(), MOMENT)
    assert by_hand.weights == readable.weights
    for name, term in readable.terms.items():
        assert by_hand.terms[name].item() == pytest.approx(term.item(), rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weighted_term_has_a_gradient_that_is_in_the_step(kind: str):
    variant = make_variant(kind)
    loss = variant.loss(rows(), MOMENT)
    total = [torch.zeros_like(p) for p in variant.parameters()]
    for name, term in loss.terms.items():
        assert loss.weights[name] > 0
        gradients = torch.autograd.grad(
            term, variant.parameters(), retain_graph=True, allow_unused=True
        )
        assert any(g is not None and bool(g.abs().max() > 0) for g in gradients), name
        for sum_so_far, gradient in zip(total, gradients, strict=True):
            if gradient is not None:
                sum_so_far += loss.weights[name] * gradient
    for by_hand, summed in zip(step_gradients(variant, rows()), total, strict=True):
        torch.testing.assert_close(by_hand, summed, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_changes_no_state(kind: str):
    variant = make_variant(kind)
    before = {
        name: tensor.clone()
        for name, tensor in {**variant.crosscoder.state_dict(), **variant.state()}.items()
    }
    variant.step(rows(), MOMENT)
    variant.loss(rows(), MOMENT)
    variant.crosscoder(rows().view(-1, N_MODELS, D_MODEL))
    after = {**variant.crosscoder.state_dict(), **variant.state()}
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_batch_after_a_long_one_is_not_mixed_with_it(kind: str):
    variant, fresh = make_variant(kind), make_variant(kind)
    variant.step(rows(1, 60), MOMENT)
    for used, unused in zip(
        step_gradients(variant, rows(2, 9)), step_gradients(fresh, rows(2, 9)), strict=True
    ):
        torch.testing.assert_close(used, unused, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_products_give_nearly_the_fp32_gradient(kind: str):
    exact = make_variant(kind, dtype=torch.float32)
    config = crosscoder_config(kind)
    rounded = build_variant(exact.crosscoder, config, precision="bf16", dead_after_rows=100)
    rounded.load_state(exact.state())
    x_BP = rows(dtype=torch.float32)
    for coarse, fine in zip(
        step_gradients(rounded, x_BP), step_gradients(exact, x_BP), strict=True
    ):
        assert (
            float((coarse - fine).norm() / fine.norm()) < 0.1
        )  # products round at 0.004, and rounding moves a few latents across 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_latent_that_fires_is_alive_and_a_silent_one_ages(kind: str):
    variant = make_variant(kind)
    before = variant.rows_since_fired_L.clone()
    step = variant.step(rows(), MOMENT)
    fired = step.fired_L.clone()
    variant.advance(step, 33)
    assert bool(fired.any())
    assert bool((variant.rows_since_fired_L[fired] == 0).all())
    assert torch.equal(variant.rows_since_fired_L[~fired], before[~fired] + 33)
