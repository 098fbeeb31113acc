"""A pair asked about a piece of text, against the whole models run plainly."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.errors import ConfigError, ModelError
from pipeline.harvest.reading import Pair
from tests.models.families import family_folder

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


def test_a_lone_surrogate_is_read_as_the_mix_reads_it(folders: tuple[Path, Path]):
    tokens, activations = Pair.from_pretrained(*folders, layer=1).activations("a \ud800 stone")
    assert len(tokens) == len(activations)
    assert tokens[0] == "a"


def test_a_character_of_several_tokens_stands_whole_on_the_last_of_them(
    folders: tuple[Path, Path],
):
    tokens, _ = Pair.from_pretrained(*folders, layer=1).activations("a 你 stone")
    assert "".join(tokens) == "a 你 stone"
    assert [token for token in tokens if "你" in token] == ["你"]


@pytest.mark.parametrize("text", [None, 3, b"a stone", ["a stone"]])
def test_what_is_no_text_is_refused(folders: tuple[Path, Path], text: Any):
    with pytest.raises(ConfigError, match="expected one text"):
        Pair.from_pretrained(*folders, layer=1).activations(text)


@pytest.mark.parametrize("name", ["", " ", "a\0b", None, 3])
def test_what_names_no_model_is_refused(folders: tuple[Path, Path], name: Any):
    with pytest.raises(ModelError, match="expected a folder or a repository of the Hub"):
        Pair.from_pretrained(folders[0], name, layer=1)


def test_a_text_longer_than_a_table_of_positions_is_refused(
    tmp_path: Path, folders: tuple[Path, Path]
):
    gpt2 = family_folder(tmp_path / "gpt2", "gpt2")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders[0] / name, gpt2)
    pair = Pair.from_pretrained(gpt2, gpt2, layer=1)
    with pytest.raises(ModelError, match="GPT2LMHeadModel has positions for 64: give it"):
        pair.activations("a stone by the river " * 20)


@pytest.mark.parametrize("layer", [3, 99])
def test_a_layer_beyond_the_depth_is_refused(folders: tuple[Path, Path], layer: int):
    with pytest.raises(ModelError, match=f"layer is {layer}, but .* has 3 blocks: .* 0 and 2"):
        Pair.from_pretrained(*folders, layer=layer)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"layer": -1}, "layer is -1"),
        ({"layer": 1, "dtype": "float8"}, "dtype is 'float8'"),
        ({"layer": 1, "attention": "fast"}, "attention is 'fast'"),
    ],
)
def test_what_a_hook_point_cannot_be_is_refused(
    folders: tuple[Path, Path], keywords: dict[str, Any], message: str
):
    with pytest.raises(ConfigError, match=message):
        Pair.from_pretrained(*folders, **keywords)


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "~/no model", "$HOME/none", "a/b/c"])
def test_a_missing_folder_is_told_as_one(folders: tuple[Path, Path], name: str):
    with pytest.raises(ModelError, match="does not exist: expected a Hugging Face folder"):
        Pair.from_pretrained(folders[0], name, layer=1)


def test_home_and_variables_are_filled_in(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(folders[0].parent))
    pair = Pair.from_pretrained("~/base", "$HOME/it", layer=1)
    _, expected = Pair.from_pretrained(*folders, layer=1).activations(TEXT)
    assert torch.equal(pair.activations(TEXT)[1], expected)


def test_with_nothing_in_front_the_first_token_gives_no_row(folders: tuple[Path, Path]):
    pair = Pair.from_pretrained(*folders, layer=2, start="none")
    tokens, activations = pair.activations(TEXT)
    assert pair.hooked.start_id is None
    first = pair.tokenizer.decode(pair.tokenizer.encode(TEXT, add_special_tokens=False)[:1])
    assert str(first) + "".join(tokens) == TEXT
    assert len(activations) == len(tokens)
    assert pair.activations("")[0] == []
