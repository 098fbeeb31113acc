import json
import os
from pathlib import Path

import pytest
import torch

from pipeline.crosscoder import Crosscoder
from pipeline.crosscoder.layouts import Layout
from pipeline.crosscoder.layouts.own import read_config
from pipeline.errors import ArtifactError, MissingArtifactError
from tests.crosscoder.test_model import random_crosscoder, random_rows


def small_crosscoder() -> Crosscoder:
    return random_crosscoder(5).float()


def test_a_loaded_crosscoder_maps_raw_activations_as_the_saved_one(tmp_path: Path):
    crosscoder = small_crosscoder()
    crosscoder.provenance = {"train": {"n_rows": 12}}
    crosscoder.save(tmp_path / "crosscoder")
    loaded = Crosscoder.load(tmp_path / "crosscoder")
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
        small_crosscoder().save(tmp_path / name)
    for file in ("config.json", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_weights_are_stored_in_the_published_shapes(tmp_path: Path):
    from safetensors.torch import load_file

    small_crosscoder().save(tmp_path)
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
        Crosscoder.load(tmp_path)


def test_a_truncated_weights_file_is_an_error(tmp_path: Path):
    small_crosscoder().save(tmp_path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="cannot be read"):
        Crosscoder.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "version 99"),
        ({"d_model": 7}, "d_model is 7, but the tensors have 6"),
        ({"kind": "gated"}, "kind is 'gated', expected one of l1, dsf, jumprelu, batch_topk"),
    ],
)
def test_a_config_of_another_crosscoder_is_an_error(tmp_path: Path, change: dict, message: str):
    small_crosscoder().save(tmp_path)
    config = read_config(tmp_path) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=message):
        Crosscoder.load(tmp_path)


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
    crosscoder = small_crosscoder()
    crosscoder.provenance = {"hook_point": {"layer": 3}}
    crosscoder.save(tmp_path / "a")
    Crosscoder.load(tmp_path / "a").save(tmp_path / "b")
    assert Crosscoder.load(tmp_path / "b").provenance == {"hook_point": {"layer": 3}}
    folded = Crosscoder.load(tmp_path / "b").folded()
    assert folded.provenance == {"hook_point": {"layer": 3}, "folded": True}


def damage(folder: Path, name: str, value: torch.Tensor) -> None:
    """Put another tensor in the place of one of a saved crosscoder's."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "weights.safetensors")
    save_file(tensors | {name: value}, folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("b_enc", torch.zeros(1), r"b_enc has shape \(1,\), expected \(20,\)"),
        ("b_dec", torch.zeros(6), r"b_dec has shape \(6,\), expected \(2, 6\)"),
        ("W_enc", torch.zeros(1, 6, 20), r"W_enc has shape \(1, 6, 20\), expected \(2, 6, 20\)"),
        ("W_enc", torch.zeros(6, 20), r"W_enc has shape \(6, 20\), expected \(2, 6, 20\)"),
        ("W_dec", torch.zeros(20, 6), r"W_dec has shape \(20, 6\), expected three axes"),
        ("threshold", torch.zeros(()), r"threshold has shape \(\), expected \(20,\)"),
        ("b_enc", torch.full((20,), torch.nan), "b_enc holds 20 values that are not finite"),
        ("W_dec", torch.full((20, 2, 6), torch.inf), "W_dec holds 240 values that are not finite"),
        (
            "W_dec",
            torch.ones(20, 2, 6, dtype=torch.int64),
            "W_dec is int64, expected plain",
        ),
        ("b_enc", torch.ones(20, dtype=torch.complex64), "b_enc is complex64, expected plain"),
        ("W_enc", torch.ones(2, 6, 20).to(torch.float8_e4m3fn), "W_enc is float8_e4m3fn, expected"),
        ("threshold", torch.ones(20, dtype=torch.bool), "threshold is bool, expected plain"),
        (
            "W_dec",
            torch.zeros(0, 2, 6),
            r"W_dec has shape \(0, 2, 6\), expected three axes",
        ),
        ("activation_scale", torch.tensor([0.0, 1.0]), "above 0 per model"),
        ("activation_scale", torch.tensor([-1.0, 1.0]), "above 0 per model"),
    ],
)
def test_tensors_that_do_not_fit_each_other_are_refused_before_anything_is_copied(
    tmp_path: Path, name: str, value: torch.Tensor, message: str
):
    small_crosscoder().save(tmp_path)
    damage(tmp_path, name, value)
    with pytest.raises(ArtifactError, match=message) as caught:
        Crosscoder.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'weights.safetensors'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("provenance", [None, [1], "text"])
def test_a_provenance_that_is_no_object_is_told(tmp_path: Path, provenance: object):
    small_crosscoder().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "provenance": provenance}))
    with pytest.raises(ArtifactError, match=r"config\.json has a provenance that is"):
        Crosscoder.load(tmp_path)


def test_weights_of_several_types_lose_no_digits(tmp_path: Path):
    crosscoder = small_crosscoder()
    crosscoder.save(tmp_path)
    damage(tmp_path, "W_dec", crosscoder.W_dec.detach().bfloat16())
    loaded = Crosscoder.load(tmp_path)
    assert loaded.W_enc.dtype == torch.float32
    assert torch.equal(loaded.b_enc, crosscoder.b_enc)


def test_what_is_refused_beside_the_working_folder_is_told_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small_crosscoder().save(tmp_path)
    damage(tmp_path, "b_enc", torch.zeros(1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=r"^weights\.safetensors: b_enc has shape"):
        Crosscoder.load(".")


@pytest.mark.parametrize("content", ["{", "[1, 2]", '"text"', "[" * 100_000])
def test_a_config_that_is_no_json_object_is_an_error(tmp_path: Path, content: str):
    small_crosscoder().save(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"config.json (is not JSON|holds a JSON)"):
        Crosscoder.load(tmp_path)


@pytest.mark.parametrize("layout", ["own", "reference", "learning"])
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_weights_are_readable_as_every_other_file_is(tmp_path: Path, layout: Layout, umask: int):
    before = os.umask(umask)
    try:
        random_crosscoder(5, gated=False).save(tmp_path / "a", layout=layout)
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "a").iterdir()}
    assert set(modes.values()) == {0o666 & ~umask}, modes
