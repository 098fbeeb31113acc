"""Edits of a tiny random model: drawn, made, put back, written and read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.config.edits import EditedModel, EditForm, EditGroup
from pipeline.errors import ModelError
from pipeline.models.edits.draw import draw_edits
from pipeline.models.edits.edit import Edit, Written, made, read_edits, write_edits
from pipeline.models.edits.inputs import key_and_moment, measure_inputs

FORMS: tuple[EditForm, ...] = (
    *("token_added", "token_turned", "token_scaled", "neuron_writes"),
    *("neuron_silenced", "head_silenced", "rank_one"),
)


@pytest.fixture(scope="module")
def model() -> Any:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=30,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def token_ids() -> torch.Tensor:
    return torch.randint(30, (8, 40), generator=torch.Generator().manual_seed(1))


def spec(n: int = 1, seed: int = 5) -> EditedModel:
    groups = {
        form: EditGroup(form=form, n=n, strengths=(0.5,), min_rate=0.001, max_rate=0.9, models="it")
        for form in FORMS
    }
    return EditedModel(
        kind="edited",
        of="base",
        groups=groups,
        sources={"pile": 1.0},
        n_sequences=8,
        sequence_length_tokens=40,
        n_layers=1,
        seed=seed,
    )


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def edits(model: Any) -> list[Edit]:
    return draw_edits(model, token_ids(), spec(), special={0, 1})


def test_every_form_is_drawn_and_no_token_twice(edits: list[Edit]) -> None:
    tokens = [e.index for e in edits if e.form.startswith("token") or e.form == "rank_one"]
    assert [edit.form for edit in edits] == list(FORMS)
    assert len(set(tokens)) == len(tokens)
    assert not {0, 1} & set(tokens)


@pytest.mark.parametrize("form", FORMS)
def test_an_edit_alters_one_tensor_and_is_put_back_to_the_bit(
    model: Any, edits: list[Edit], form: str
) -> None:
    (edit,) = (edit for edit in edits if edit.form == form)
    before = weights(model)
    with made(model, edit):
        altered = [name for name, t in model.state_dict().items() if not t.equal(before[name])]
    assert len(altered) == 1
    assert all(t.equal(before[name]) for name, t in model.state_dict().items())


def test_a_turned_embedding_keeps_its_length_and_has_the_stated_cosine(
    model: Any, edits: list[Edit]
) -> None:
    (edit,) = (edit for edit in edits if edit.form == "token_turned")
    old = model.get_input_embeddings().weight[edit.index].clone()
    with made(model, edit):
        new = model.get_input_embeddings().weight[edit.index].clone()
    assert float(new.norm()) == pytest.approx(float(old.norm()), rel=1e-5)
    assert float(new @ old / old.norm() ** 2) == pytest.approx(0.5, abs=1e-5)


def test_a_rank_one_edit_writes_its_vector_at_its_key(edits: list[Edit]) -> None:
    (edit,) = (edit for edit in edits if edit.form == "rank_one")
    assert float(edit.dual @ edit.key) == pytest.approx(1, abs=1e-4)


def test_sums_over_inputs_are_those_of_the_inputs_at_once(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by hooks of the test's own, in one batch; the sums in three."""
    monkeypatch.setattr("pipeline.models.edits.inputs.SEQUENCES_AT_A_TIME", 3)
    paths: dict[Written, str] = {"mlp": "mlp.down_proj", "attention": "self_attn.o_proj"}
    for module, path in paths.items():
        heard: list[torch.Tensor] = []
        linear = model.model.layers[1].get_submodule(path)
        handle = linear.register_forward_hook(lambda _m, args, _out: heard.append(args[0]))  # noqa: B023
        model(token_ids())
        handle.remove()
        (inputs,) = heard
        inputs_TI = inputs.flatten(0, 1).double()
        sums = measure_inputs(model, token_ids(), n_layers=2)[module, 1]
        torch.testing.assert_close(sums.second_I, inputs_TI.square().sum(0), rtol=1e-5, atol=0)
        torch.testing.assert_close(sums.fourth_I, inputs_TI.pow(4).sum(0), rtol=1e-5, atol=0)
        squares = (inputs_TI @ linear.weight.double().T).square().sum(1)
        assert sums.typical_output == pytest.approx(float(squares.mean().sqrt()), rel=1e-5)
        if module == "attention":
            head = inputs_TI[:, 4:8] @ linear.weight.double()[:, 4:8].T
            assert float(sums.written[1]) == pytest.approx(float(head.square().sum()), rel=1e-5)
        key, moment = key_and_moment(model, token_ids(), module, 1, 7)
        at_token = inputs_TI[token_ids().flatten() == 7]
        torch.testing.assert_close(key, at_token.mean(0), rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(
            moment, inputs_TI.T @ inputs_TI / len(inputs_TI), rtol=1e-5, atol=1e-9
        )


def test_the_same_seed_draws_the_same_edits_and_another_one_others(model: Any) -> None:
    first, again, other = (
        draw_edits(model, token_ids(), spec(seed=seed), special=()) for seed in (5, 5, 6)
    )
    assert all(torch.equal(a.vector, b.vector) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].vector, other[0].vector)


def test_edits_are_read_as_they_were_written(edits: list[Edit], tmp_path: Path) -> None:
    write_edits(tmp_path, edits)
    for edit, back in zip(edits, read_edits(tmp_path), strict=True):
        assert (edit.name, edit.index, edit.rate) == (back.name, back.index, back.rate)
        assert torch.equal(edit.vector, back.vector)


def test_more_edits_than_concepts_are_refused_with_the_remedy(model: Any) -> None:
    with pytest.raises(ModelError, match="ask for fewer, widen min_rate"):
        draw_edits(model, token_ids(), spec(n=40), special=())
