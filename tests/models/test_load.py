import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from pipeline.config.models import ModelName
from pipeline.errors import MissingArtifactError, ModelError
from pipeline.models.hook import blocks, residual
from pipeline.models.load import load_model, load_tokenizer, read_model, read_tokenizer
from pipeline.models.records import describe, write_records

MakeFolder = Callable[..., Path]
TOKEN_IDS = torch.arange(3, 23)[None]


@pytest.fixture
def models_dir(
    tmp_path: Path, model_folder: MakeFolder, tokenizer: PreTrainedTokenizerFast
) -> Path:
    """`data/models/` with a model made here as base and a local folder as IT."""
    models = tmp_path / "models"
    model_folder(models / "base", "gemma2")
    local = model_folder(tmp_path / "elsewhere", "gemma2", seed=8)
    tokenizer.save_pretrained(models / "tokenizer")
    write_records(
        models,
        {
            "base": describe(models / "base", "here", "base"),
            "it": describe(local, "local", str(local)),
        },
    )
    return models


def load(models: Path, name: ModelName = "base", n_layers: int | None = None):
    return load_model(
        models, name, dtype="float32", attention="eager", device="cpu", n_layers=n_layers
    )


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("name", ["base", "it"])
def test_a_truncated_model_gives_the_same_residual(models_dir: Path, name, layer: int) -> None:
    full, truncated = load(models_dir, name), load(models_dir, name, n_layers=layer)
    assert len(blocks(full)) == 3
    assert len(blocks(truncated)) == layer
    assert torch.equal(residual(truncated, layer, TOKEN_IDS), residual(full, layer, TOKEN_IDS))


def test_layer_0_is_the_embedding_of_a_model_with_one_block(models_dir: Path) -> None:
    truncated = load(models_dir, n_layers=0)
    assert len(blocks(truncated)) == 1
    embedded = residual(truncated, 0, TOKEN_IDS)
    assert torch.equal(embedded, truncated.get_input_embeddings()(TOKEN_IDS))


def test_a_model_is_loaded_for_inference_in_the_dtype_asked_for(models_dir: Path) -> None:
    model = load_model(models_dir, "base", dtype="bfloat16", attention="eager", device="cpu")
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_loading_prints_nothing(models_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(models_dir, n_layers=1)
    assert capfd.readouterr() == ("", "")


def test_the_tokenizer_is_read_back(models_dir: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    text = "User: hello\nAssistant: a stone\n"
    assert load_tokenizer(models_dir).encode(text) == tokenizer.encode(text)


def test_an_altered_file_is_refused(models_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.safetensors is not the file .* recorded"):
        load(models_dir, "it")


def test_a_folder_that_has_gone_is_refused(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").rename(tmp_path / "moved")
    with pytest.raises(ModelError, match="elsewhere does not exist"):
        load(models_dir, "it")


def test_missing_weights_are_refused_and_never_made_up(
    tmp_path: Path, model_folder: MakeFolder
) -> None:
    path = model_folder(tmp_path / "model") / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors, such as model\.layers\.1\.mlp"):
        read_model(path.parent, dtype="float32", attention="eager", device="cpu")


def test_weights_of_another_width_are_refused(tmp_path: Path, model_folder: MakeFolder) -> None:
    folder = model_folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 32}))
    with pytest.raises(ModelError, match=r"do not fit its config\.json"):
        read_model(folder, dtype="float32", attention="eager", device="cpu")


def test_attention_that_a_family_lacks_is_refused(tmp_path: Path, model_folder: MakeFolder) -> None:
    folder = model_folder(tmp_path / "model", "gemma2")
    with pytest.raises(
        ModelError, match=r"attention is sdpa, which gemma2 .*set hook_point\.attention=auto"
    ):
        read_model(folder, dtype="float32", attention="sdpa", device="cpu")


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path, model_folder: MakeFolder) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        read_tokenizer(folder)


def test_without_the_models_stage_the_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        MissingArtifactError, match=r"models\.json not found: run `dvc repro models`"
    ):
        load(tmp_path)
    with pytest.raises(MissingArtifactError, match="run `dvc repro models`"):
        load_tokenizer(tmp_path)
