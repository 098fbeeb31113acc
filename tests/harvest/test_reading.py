"""A pair asked about a piece of text, against the whole models run plainly."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.errors import ModelError
from pipeline.harvest.reading import Pair

TEXT = "User: hello there\nAssistant: a stone\n"


def hidden_states(folder: Path, layer: int) -> torch.Tensor:
    """[token, d_model] of the whole model in transformers' own words, BOS left out."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="eager"
    )
    ids = [tokenizer.bos_token_id, *tokenizer(TEXT, add_special_tokens=False).input_ids]
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    return out.hidden_states[layer][0, 1:]


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[..., Path]
) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pair")
    return model_folder(root / "base", seed=1), model_folder(root / "it", seed=2)


def test_the_rows_of_a_text_are_the_hidden_states_of_both_models(folders: tuple[Path, Path]):
    pair = Pair.from_pretrained(*folders, layer=2)
    tokens, activations = pair.activations(TEXT)
    assert "".join(tokens) == TEXT
    assert activations.dtype == torch.bfloat16
    assert activations.shape == (len(tokens), 2, pair.hooked.d_model)
    for index, folder in enumerate(folders):
        assert torch.equal(activations[:, index], hidden_states(folder, 2))


def test_rows_of_one_text_stay_when_another_is_read(folders: tuple[Path, Path]):
    pair = Pair.from_pretrained(*folders, layer=1)
    _, first = pair.activations(TEXT)
    kept = first.clone()
    pair.activations("a stone by the river, a stone by the river")
    assert torch.equal(first, kept)


def test_a_special_token_spelled_in_the_text_is_plain_text(folders: tuple[Path, Path]):
    tokens, _ = Pair.from_pretrained(*folders, layer=1).activations("<bos>hello")
    assert len(tokens) > 2
    assert "".join(tokens) == "<bos>hello"


def test_models_of_two_widths_are_refused_with_both(
    tmp_path: Path, folders: tuple[Path, Path], model_folder: Callable[..., Path]
):
    wide = model_folder(tmp_path / "wide", d_model=16)
    with pytest.raises(ModelError, match=r"d_model 16, but .* has 8"):
        Pair.from_pretrained(folders[0], wide, layer=1)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path, folders: tuple[Path, Path]):
    with pytest.raises(ModelError, match=r"has no config.json"):
        Pair.from_pretrained(folders[0], tmp_path, layer=1)
