from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from pipeline.config.models import TunedModel
from pipeline.errors import NonFiniteError
from pipeline.models import fitting
from pipeline.models.fitting import (
    fit,
    heldout_loss,
    learning_rate,
    new_optimizer,
    reproducible_attention,
    update,
)

RandomWeights = Callable[..., PreTrainedModel]
TUNED: dict[str, Any] = {
    "kind": "tuned",
    "of": "base",
    "lora": None,
    "sources": {"chat": 1.0},
    "n_steps": 6,
    "batch_sequences": 4,
    "micro_batch_sequences": 2,
    "sequence_length_tokens": 16,
    "learning_rate": 1e-2,
    "warmup_fraction": 0.34,
    "weight_decay": 0.1,
    "gradient_clip": 1.0,
    "precision": "fp32",
    "checkpoint_every_steps": 2,
    "seed": 7,
}
SEQUENCES = np.random.default_rng(0).integers(3, 280, (24, 16)).astype(np.int32)


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # logs/ goes here


def config(**fields: Any) -> TunedModel:
    return TunedModel.model_validate(TUNED | fields)


def run(model: PreTrainedModel, settings: TunedModel, checkpoint: Path = Path("ck.pt")) -> None:
    fit(model, SEQUENCES, settings, checkpoint, progress_name="models_it")


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(left: PreTrainedModel, right: PreTrainedModel) -> bool:
    a, b = weights(left), weights(right)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_learning_rate_warms_up_and_decays_to_nothing() -> None:
    rates = [learning_rate(config(), step) for step in range(6)]
    assert rates == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2, 0.75e-2, 0.5e-2, 0.25e-2])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_equal_runs_give_equal_bits(random_weights: RandomWeights, family, precision) -> None:
    first, second = random_weights(family), random_weights(family)
    run(first, config(precision=precision), Path("a.pt"))
    run(second, config(precision=precision), Path("b.pt"))
    assert same(first, second)
    assert not same(first, random_weights(family))


@pytest.mark.parametrize("killed_in_step", [0, 1, 3, 5])
def test_a_killed_run_resumes_to_the_same_bits(
    random_weights: RandomWeights, monkeypatch: pytest.MonkeyPatch, killed_in_step: int
) -> None:
    unbroken = random_weights("gemma2")
    run(unbroken, config(), Path("unbroken.pt"))

    def die(*args: Any) -> float:
        if args[4] == killed_in_step:
            raise KeyboardInterrupt
        return update(*args)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "update", die)
        with pytest.raises(KeyboardInterrupt):
            run(random_weights("gemma2"), config())
    Path("ck.partial").write_bytes(b"a checkpoint that was being written")
    resumed = random_weights("gemma2")
    run(resumed, config())
    assert same(resumed, unbroken)


def test_one_checkpoint_is_kept(random_weights: RandomWeights) -> None:
    run(random_weights("llama"), config())
    assert [path.name for path in Path().glob("*.p*t*")] == ["ck.pt"]
    assert torch.load("ck.pt", weights_only=True)["step"] == 4


def test_micro_batches_add_up_to_the_batch(random_weights: RandomWeights) -> None:
    whole, parts = random_weights("llama"), random_weights("llama")
    run(whole, config(micro_batch_sequences=4), Path("whole.pt"))
    run(parts, config(micro_batch_sequences=1), Path("parts.pt"))
    for name, value in weights(whole).items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_fitting_lowers_the_loss_on_what_is_fitted(random_weights: RandomWeights) -> None:
    model = random_weights("gemma2")
    before = heldout_loss(model, SEQUENCES[:4], "fp32", 2)
    settings = config(n_steps=24, batch_sequences=1, micro_batch_sequences=1)
    fit(model, np.tile(SEQUENCES[:4], (6, 1)), settings, Path("ck.pt"), progress_name="models_it")
    assert heldout_loss(model, SEQUENCES[:4], "fp32", 2) < before - 0.5


def test_the_heldout_loss_is_the_mean_over_tokens(random_weights: RandomWeights) -> None:
    model = random_weights("llama")
    token_ids = torch.from_numpy(SEQUENCES[:5]).long()
    log_probabilities = model(input_ids=token_ids).logits[:, :-1].log_softmax(-1)
    expected = -log_probabilities.gather(-1, token_ids[:, 1:, None]).mean().item()
    assert heldout_loss(model, SEQUENCES[:5], "fp32", 2) == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_before_the_update(random_weights: RandomWeights) -> None:
    model = random_weights("llama").requires_grad_(True)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    optimizer = new_optimizer(model, config())
    before = weights(model)
    with pytest.raises(NonFiniteError, match=r"step 3: loss nan, .* lower learning_rate"):
        update(model, optimizer, torch.from_numpy(SEQUENCES[:4]), config(), 3)
    assert all(
        torch.equal(value, before[name]) or "norm" in name for name, value in weights(model).items()
    )


def test_vectors_have_no_weight_decay(random_weights: RandomWeights) -> None:
    groups = new_optimizer(random_weights("gemma2").requires_grad_(True), config()).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert {p.ndim for p in groups[0]["params"]} == {2}
    assert {p.ndim for p in groups[1]["params"]} == {1}


def test_attention_on_a_gpu_is_of_the_reproducible_kind_while_fitting() -> None:
    cuda = torch.backends.cuda
    with reproducible_attention(torch.device("cpu")):
        assert cuda.flash_sdp_enabled()
    with reproducible_attention(torch.device("cuda")):
        assert cuda.math_sdp_enabled()
        assert not cuda.flash_sdp_enabled()
        assert not cuda.mem_efficient_sdp_enabled()
    assert cuda.flash_sdp_enabled()
