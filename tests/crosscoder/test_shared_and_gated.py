"""What only DSF and only JumpReLU promise, and how each variant's crosscoder starts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.crosscoder.initialise import initial_crosscoder
from pipeline.crosscoder.variant import Moment
from pipeline.crosscoder.variants import build_variant
from pipeline.training.loop import Run
from tests.training.planted_rows import crosscoder_config, make_training


def trained(kind: str, tmp_path: Path) -> Run:
    run = make_training(tmp_path, kind).start()
    run.train(lambda n, **figures: None)
    run.variant.finish([])
    return run


def test_shared_decoders_are_equal_to_the_bit_after_training(tmp_path: Path):
    W_dec = trained("dsf", tmp_path).variant.crosscoder.W_dec
    assert torch.equal(W_dec[:16, 0], W_dec[:16, 1])
    assert not torch.equal(W_dec[16:, 0], W_dec[16:, 1])


def test_shared_latents_pay_the_configured_share_of_the_penalty():
    config = crosscoder_config("dsf")
    crosscoder = initial_crosscoder(
        config, n_models=2, d_model=6, activation_scale=torch.ones(2), dtype=torch.float64
    )
    variant = build_variant(crosscoder, config, precision="fp32", dead_after_rows=1)
    x_BP = torch.randn(8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    f_BL = crosscoder.encode(x_BP.view(-1, 2, 6))
    cost_BL = f_BL * crosscoder.decoder_norms().sum(-1)
    expected = 0.15 * cost_BL[:, :16].sum(-1).mean() + cost_BL[:, 16:].sum(-1).mean()
    sparsity = variant.loss(x_BP, Moment(9, 10)).terms["sparsity"]
    assert sparsity.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("kind", ["l1", "dsf", "jumprelu"])
def test_inference_encodes_as_the_training_step_does(kind: str, tmp_path: Path):
    run = trained(kind, tmp_path)
    batch = next(run.stream.batches())
    crosscoder = run.variant.crosscoder
    x = crosscoder.normalise(batch.x_raw)
    step = run.variant.step(x.view(len(x), -1), Moment(20, 24))
    f_BL = crosscoder.encode(x)
    assert int((f_BL > 0).sum()) == int(step.latents.count_nonzero())
    torch.testing.assert_close(f_BL[f_BL > 0], step.latents[step.latents != 0].flatten())
    residual = (crosscoder.decode(f_BL) - x).view(len(x), -1)
    torch.testing.assert_close(residual, step.residual_BP, rtol=1e-4, atol=1e-4)


def test_thresholds_are_learned_and_saved(tmp_path: Path):
    run = trained("jumprelu", tmp_path)
    theta_L = run.variant.crosscoder.threshold * run.variant.crosscoder.decoder_norms().sum(-1)
    assert float(theta_L.detach().std()) > 0
    assert bool((theta_L > 0).all())


@pytest.mark.parametrize("kind", ["l1", "dsf", "jumprelu", "batch_topk"])
def test_every_decoder_vector_starts_with_the_configured_norm(kind: str):
    config = crosscoder_config(kind)
    crosscoder = initial_crosscoder(config, n_models=3, d_model=16, activation_scale=torch.ones(3))
    torch.testing.assert_close(crosscoder.decoder_norms(), torch.full((40, 3), 0.3))
    assert torch.equal(crosscoder.W_enc_LP, crosscoder.W_dec_LP)
    assert not bool(crosscoder.b_enc.any())


def test_the_start_depends_on_the_seed_alone():
    def start(seed: int, shared: bool) -> torch.Tensor:
        config = crosscoder_config("l1", seed=seed, decoder_init_shared=shared)
        return initial_crosscoder(
            config, n_models=2, d_model=8, activation_scale=torch.ones(2)
        ).W_dec.detach()

    assert torch.equal(start(1, False), start(1, False))
    assert not torch.equal(start(1, False), start(2, False))
    assert not torch.equal(start(1, False)[:, 0], start(1, False)[:, 1])
    assert torch.equal(start(1, True)[:, 0], start(1, True)[:, 1])


def test_the_decoder_bias_can_start_at_the_geometric_median(tmp_path: Path):
    training = make_training(tmp_path, "l1")
    config = crosscoder_config("l1", decoder_bias_init="geometric_median")
    centred = replace(training, crosscoder=config).start()
    plain = training.start()
    batch = next(plain.stream.batches())

    def distance(run: Run) -> float:
        x = run.variant.crosscoder.normalise(batch.x_raw)
        return (x - run.variant.crosscoder.b_dec).norm(dim=-1).mean().item()

    assert distance(centred) < distance(plain)
