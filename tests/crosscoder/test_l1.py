"""L1 against the reference's own formulas, restated here with autograd and torch's optimiser.

Source: Kissane et al. 2024, "Open Source Replication of Anthropic's Crosscoder paper for
model-diffing".
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.config.crosscoder import L1Config
from pipeline.crosscoder.variant import Moment
from tests.crosscoder.test_variants import D_MODEL, N_MODELS, make_variant, rows
from tests.training.planted_rows import N_ROWS, crosscoder_config, make_training, train_config


def reference_loss(
    x: Tensor, W_enc: Tensor, W_dec: Tensor, b_enc: Tensor, b_dec: Tensor
) -> tuple[Tensor, Tensor]:
    """(squared error, sparsity) of rows x [B, M, D]; the total is the first + lambda the second."""
    f = torch.relu(torch.einsum("bmd,mdl->bl", x, W_enc) + b_enc)
    x_hat = torch.einsum("bl,lmd->bmd", f, W_dec) + b_dec
    squared_error = (x_hat - x).pow(2).sum((1, 2)).mean()
    return squared_error, (f * W_dec.norm(dim=-1).sum(-1)).sum(-1).mean()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.integers(0, 19))
def test_the_loss_is_the_references(seed: int, step: int):
    variant, x_BP, moment = make_variant("l1", seed=seed), rows(seed), Moment(step, 20)
    crosscoder = variant.crosscoder
    error, sparsity = reference_loss(
        x_BP.view(-1, N_MODELS, D_MODEL),
        crosscoder.W_enc,
        crosscoder.W_dec,
        crosscoder.b_enc_L,
        crosscoder.b_dec,
    )
    expected = error + 0.4 * min(1.0, step / (0.25 * 20)) * sparsity
    for loss in (variant.loss(x_BP, moment), variant.step(x_BP, moment).loss):
        assert loss.total.item() == pytest.approx(expected.item(), rel=1e-12)


def test_fifty_steps_have_the_losses_of_the_references_trainer(tmp_path: Path):
    """Its optimiser, clipping, warm-up of lambda and decay of the learning rate, on equal rows."""
    changes = {"lr_warmup_steps": 0, "log_every_steps": 1, "n_rows": 2 * N_ROWS, "batch_rows": 60}
    training = replace(make_training(tmp_path), train=train_config(**changes))
    run = training.start()
    config = crosscoder_config("l1")
    assert isinstance(config, L1Config)
    ours = run.variant.crosscoder
    parts = [t.detach().clone() for t in (ours.W_enc, ours.W_dec, ours.b_enc_L, ours.b_dec)]
    weights = [part.contiguous().requires_grad_() for part in parts]
    optimiser = torch.optim.Adam(weights, lr=training.train.learning_rate, betas=(0.9, 0.999))
    n_steps, losses = run.stream.n_steps, []
    assert n_steps == 50
    for step, batch in enumerate(training.stream().batches()):
        error, sparsity = reference_loss(ours.normalise(batch.x_raw), *weights)
        ramp = min(1.0, step / (config.sparsity_warmup_fraction * n_steps))
        loss = error + config.sparsity_coefficient * ramp * sparsity
        left = (n_steps - step) / (training.train.lr_decay_fraction * n_steps)
        optimiser.param_groups[0]["lr"] = training.train.learning_rate * min(1.0, left)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    run.train(lambda n, **figures: None)
    assert [point["loss"] for point in run.curve] == pytest.approx(losses, rel=1e-5)
