"""Parts of a crosscoder and of a batch, as several processes hold them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crosscoder import initialise
from pipeline.crosscoder.initialise import initial_crosscoder
from pipeline.crosscoder.variant import is_per_latent
from pipeline.distributed import ALONE, Ranks
from tests.crosscoder.test_variants import KINDS, MOMENT, make_variant, rows, step_gradients
from tests.training.planted_rows import crosscoder_config


def start(kind: str, ranks: Ranks = ALONE, **changes: object) -> dict[str, torch.Tensor]:
    config = crosscoder_config(kind, n_latents=101, **changes)
    crosscoder = initial_crosscoder(
        config, n_models=2, d_model=13, activation_scale=torch.ones(2), latents=ranks
    )
    return crosscoder.state_dict()


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("kind", ["l1", "dsf"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_parts_of_all_ranks_are_the_weights_of_one_process(
    kind: str, size: int, is_shared: bool, monkeypatch: pytest.MonkeyPatch
):
    whole = start(kind, decoder_init_shared=is_shared)
    monkeypatch.setattr(initialise, "DRAWN_AT_ONCE", 32)
    parts = [start(kind, Ranks(r, size), decoder_init_shared=is_shared) for r in range(size)]
    for name, tensor in whole.items():
        found = torch.cat([p[name] for p in parts]) if is_per_latent(name) else parts[-1][name]
        assert torch.equal(found, tensor), name


@pytest.mark.parametrize("kind", ["l1", "dsf", "jumprelu"])
@settings(max_examples=15, deadline=None)
@given(cut=st.integers(0, 33), seed=st.integers(0, 1000))
def test_gradients_and_losses_of_two_parts_of_a_batch_add_up(kind: str, cut: int, seed: int):
    variant, x_BP = make_variant(kind, seed=seed), rows(seed)
    whole = step_gradients(variant, x_BP)
    loss = variant.step(x_BP, MOMENT).loss.total
    for parameter in variant.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    sums, total = [torch.zeros_like(gradient) for gradient in whole], torch.zeros_like(loss)
    for part in (x_BP[:cut], x_BP[cut:]):
        total += variant.step(part, MOMENT, len(x_BP)).loss.total
        for sum_so_far, parameter in zip(sums, variant.parameters(), strict=True):
            assert parameter.grad is not None
            sum_so_far += parameter.grad
    for found, expected in zip(sums, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert float(total) == pytest.approx(float(loss), rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_without_rows_adds_nothing(kind: str):
    variant = make_variant(kind)
    step = variant.step(rows(n_rows=0), MOMENT, 5)
    assert float(step.loss.terms["reconstruction"]) == 0.0
    assert not bool(step.fired_L.any())
    for parameter in variant.parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) == 0.0
