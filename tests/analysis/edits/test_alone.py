"""Effects of edits made alone, and null pairs, on a tiny random model."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.analysis.edits.alone import control_rows, effect_alone, rows_with
from pipeline.analysis.edits.null import null_lists, rounded_at_random
from pipeline.models.edits.edit import Edit
from tests.analysis.changes.worlds import section

START, LAYER, TOKEN = 1, 1, 7


@pytest.fixture(scope="module")
def model() -> Any:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=30,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def sequences(n: int = 12) -> Any:
    ids = torch.randint(2, 30, (n, 9), generator=torch.Generator().manual_seed(1)).numpy()
    ids[:, 0] = START
    ids[::2][ids[::2] == TOKEN] = TOKEN + 1
    return ids


def edit(models: Any = "it") -> Edit:
    none = torch.zeros(0)
    vector = torch.ones(16)
    where = ("embedding", -1, TOKEN, 0.1, 1.0)
    return Edit("e", "g", "token_added", models, *where, vector, none, none)


def test_an_edited_token_is_run_only_where_it_stands_and_its_effect_is_that_of_a_whole_run(
    model: Any,
) -> None:
    ids = sequences()
    plain = rows_with(model, None, ids, LAYER, ids != START)
    whole = rows_with(model, edit(), ids, LAYER, ids != START) - plain
    alone = effect_alone(model, edit(), ids, LAYER, ids != START, plain)
    assert float(whole.abs().max()) > 0.1
    assert torch.allclose(alone, whole, atol=1e-5)
    there = torch.from_numpy(ids[ids != START] == TOKEN).float()
    assert torch.equal(control_rows(edit("both"), ids, ids != START, lambda _: alone), there)


def test_weights_are_rounded_to_neighbours_in_bfloat16_and_keep_their_mean() -> None:
    weight = torch.full((40_000,), 1.001)
    rounded = rounded_at_random(weight, torch.Generator().manual_seed(0))
    assert set(rounded.tolist()) == {1.0, 1.0078125}
    assert float(rounded.mean()) == pytest.approx(1.001, abs=1e-4)
    exact = torch.tensor([0.0, -2.5, 384.0])
    assert torch.equal(rounded_at_random(exact, torch.Generator().manual_seed(0)), exact)


def test_null_pairs_of_every_kind_have_empty_lists_and_leave_the_model_as_it_was(
    model: Any,
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = list(null_lists(model, sequences(40), LAYER, START, section(), range(3, 5)))
    assert [(kind, seed) for kind, seed, _ in found] == [
        ("same", 3),
        *[(kind, seed) for seed in (3, 4) for kind in ("rows", "weights")],
    ]
    assert {n_listed for *_, n_listed in found} == {0}
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
