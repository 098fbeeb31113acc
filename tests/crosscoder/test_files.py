import json
from pathlib import Path

import pytest
import torch

from pipeline.crosscoder import Crosscoder, load, save
from pipeline.crosscoder.files import read_config
from pipeline.crosscoder.model import Layout
from pipeline.errors import ArtifactError, MissingArtifactError
from tests.crosscoder.test_model import random_crosscoder, random_rows


def small_crosscoder() -> Crosscoder:
    return random_crosscoder(5).float()


def test_a_loaded_crosscoder_maps_raw_activations_as_the_saved_one(tmp_path: Path):
    crosscoder = small_crosscoder()
    save(crosscoder, tmp_path / "crosscoder", provenance={"train": {"n_rows": 12}})
    loaded = load(tmp_path / "crosscoder")
    x_raw = random_rows(1, crosscoder).float()
    assert torch.equal(loaded.reconstruct(x_raw), crosscoder.reconstruct(x_raw))
    for name, tensor in crosscoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert loaded.kind == crosscoder.kind
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert read_config(tmp_path / "crosscoder")["provenance"] == {"train": {"n_rows": 12}}


def test_saving_twice_writes_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        save(small_crosscoder(), tmp_path / name, provenance={})
    for file in ("config.json", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_weights_are_stored_in_the_published_shapes(tmp_path: Path):
    from safetensors.torch import load_file

    save(small_crosscoder(), tmp_path, provenance={})
    shapes = {
        name: tuple(t.shape) for name, t in load_file(tmp_path / "weights.safetensors").items()
    }
    assert shapes == {
        "W_enc": (2, 6, 20),
        "W_dec": (20, 2, 6),
        "b_enc": (20,),
        "b_dec": (2, 6),
        "activation_scale": (2,),
        "threshold": (20,),
    }


def test_an_empty_folder_is_an_error_that_names_the_command(tmp_path: Path):
    with pytest.raises(MissingArtifactError, match="dvc repro train"):
        load(tmp_path)


def test_a_truncated_weights_file_is_an_error(tmp_path: Path):
    save(small_crosscoder(), tmp_path, provenance={})
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format_version": 99}, "version 99"), ({"d_model": 7}, "do not belong together")],
)
def test_a_config_of_another_crosscoder_is_an_error(tmp_path: Path, change: dict, message: str):
    save(small_crosscoder(), tmp_path, provenance={})
    config = read_config(tmp_path) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("layout", ["own", "reference", "learning"])
def test_a_notebook_saves_and_loads_by_the_class_alone(tmp_path: Path, layout: Layout):
    crosscoder = random_crosscoder(5, gated=False).float()
    crosscoder.save(tmp_path, layout=layout)
    loaded = Crosscoder.load(str(tmp_path))
    x_raw = random_rows(1, crosscoder).float()
    torch.testing.assert_close(loaded.reconstruct(x_raw), crosscoder.reconstruct(x_raw))
    torch.testing.assert_close(loaded.latents(x_raw), crosscoder.latents(x_raw))
    assert not loaded.training


def test_what_made_a_crosscoder_stays_with_it(tmp_path: Path):
    save(small_crosscoder(), tmp_path / "a", provenance={"hook_point": {"layer": 3}})
    Crosscoder.load(tmp_path / "a").save(tmp_path / "b")
    assert Crosscoder.load(tmp_path / "b").provenance == {"hook_point": {"layer": 3}}
    folded = Crosscoder.load(tmp_path / "b").folded()
    assert folded.provenance == {"hook_point": {"layer": 3}, "folded": True}
