from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.errors import ModelError
from pipeline.models.hook import blocks, continued, head_logits, residual
from tests.waits import waits

FAMILIES = ("gemma2", "llama")
N_LAYERS = 4
TOKEN_IDS = torch.randint(0, 280, (3, 20), generator=torch.Generator().manual_seed(1))

RandomWeights = Callable[..., PreTrainedModel]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, random_weights: RandomWeights) -> PreTrainedModel:
    """Four blocks; Gemma-2 with a window shorter than the sequences, so that its blocks differ."""
    model = random_weights(request.param, n_layers=N_LAYERS)
    if request.param == "gemma2":
        model.config.sliding_window = 6
    return model


@pytest.fixture(scope="module")
def full(model: PreTrainedModel) -> tuple[tuple[Tensor, ...], Tensor]:
    """All hidden states and the logits of an ordinary forward pass."""
    with torch.no_grad():
        output = model(input_ids=TOKEN_IDS, output_hidden_states=True)
    return output.hidden_states, output.logits


def calls_of(modules: list[nn.Module], run: Callable[[], object]) -> list[int]:
    """How often each module ran."""
    counts = [0] * len(modules)

    def count(index: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            counts[index] += 1

        return hook

    handles = [m.register_forward_hook(count(i)) for i, m in enumerate(modules)]
    run()
    for handle in handles:
        handle.remove()
    return counts


def logits_with(model: PreTrainedModel, layer: int, token_ids: Tensor, hidden: Tensor) -> Tensor:
    """Logits [B, S, V] of the model continued from `hidden` [B, S, D] at block `layer`."""
    stream = continued(model, layer, token_ids, hidden)
    return head_logits(model, stream.flatten(0, 1)).unflatten(0, token_ids.shape)


def mlps(model: PreTrainedModel) -> list[nn.Module]:
    return [block.get_submodule("mlp") for block in blocks(model)]


def test_reading_the_residual_does_not_make_the_host_wait(model) -> None:
    with waits() as counted:
        residual(model, 2, TOKEN_IDS)
        logits_with(model, 2, TOKEN_IDS, residual(model, 2, TOKEN_IDS))
    assert counted.found == {}


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_residual_equals_the_hidden_state_of_the_full_model(model, full, layer: int) -> None:
    assert torch.equal(residual(model, layer, TOKEN_IDS), full[0][layer])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_residual_keeps_the_dtype_of_the_model(random_weights: RandomWeights, dtype) -> None:
    model = random_weights("gemma2").to(dtype)
    expected = model(input_ids=TOKEN_IDS, output_hidden_states=True).hidden_states[2]
    found = residual(model, 2, TOKEN_IDS)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize("layer", [0, 2, N_LAYERS - 1])
def test_residual_runs_nothing_above_the_layer(model, layer: int) -> None:
    modules = [*mlps(model), model.get_submodule("model.norm"), model.get_submodule("lm_head")]
    calls = calls_of(modules, lambda: residual(model, layer, TOKEN_IDS))
    assert calls == [1] * layer + [0] * (N_LAYERS - layer + 2)


def test_residual_leaves_no_hook_behind(model, full) -> None:
    residual(model, 1, TOKEN_IDS)
    assert torch.equal(model(input_ids=TOKEN_IDS).logits, full[1])


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_the_true_hidden_state_gives_the_models_own_logits(model, full, layer: int) -> None:
    assert torch.equal(logits_with(model, layer, TOKEN_IDS, full[0][layer]), full[1])


@pytest.mark.parametrize("layer", [0, 2])
def test_logits_with_computes_no_block_below(model, full, layer: int) -> None:
    modules = mlps(model)
    calls = calls_of(modules, lambda: logits_with(model, layer, TOKEN_IDS, full[0][layer]))
    assert calls == [0] * layer + [1] * (N_LAYERS - layer)


def test_logits_with_uses_the_hidden_state_that_is_given(model, full) -> None:
    hidden = full[0][2].clone()
    hidden[:, 10:] += 1.0
    spliced = logits_with(model, 2, TOKEN_IDS, hidden)
    assert torch.equal(spliced[:, :10], full[1][:, :10])
    assert not torch.allclose(spliced[:, 10:], full[1][:, 10:])


def test_logits_with_depends_on_the_hidden_state_alone(model, full) -> None:
    other_text = TOKEN_IDS.flip(1)
    assert torch.equal(logits_with(model, 2, other_text, full[0][2]), full[1])


def test_head_logits_are_the_final_norm_unembedding_and_soft_cap_alone(model) -> None:
    hidden = torch.randn(7, 16, generator=torch.Generator().manual_seed(0)) * 30
    logits = head_logits(model, hidden)
    expected = model.lm_head(model.model.norm(hidden))
    if cap := getattr(model.config, "final_logit_softcapping", None):
        expected = cap * torch.tanh(expected / cap)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert calls_of(list(blocks(model)), lambda: head_logits(model, hidden)) == [1] * N_LAYERS
    assert calls_of(mlps(model), lambda: head_logits(model, hidden)) == [0] * N_LAYERS


def test_a_failing_forward_pass_leaves_the_model_as_it_was(model, full) -> None:
    with pytest.raises(RuntimeError):
        logits_with(model, 2, TOKEN_IDS, full[0][2][:, :, :3])
    assert torch.equal(model(input_ids=TOKEN_IDS).logits, full[1])
    assert torch.equal(residual(model, 2, TOKEN_IDS), full[0][2])


def test_a_model_without_one_stack_of_blocks_is_refused(random_weights: RandomWeights) -> None:
    model = random_weights("llama")
    model.model.more = nn.ModuleList(nn.Identity() for _ in range(3))
    with pytest.raises(ModelError, match="2 lists of 3 blocks found, expected one"):
        residual(model, 1, TOKEN_IDS)
