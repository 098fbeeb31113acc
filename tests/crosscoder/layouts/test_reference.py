"""The reference layout: files made here from its documentation."""

import json
from pathlib import Path

import pytest
import torch

from pipeline.crosscoder import Crosscoder
from pipeline.errors import ArtifactError
from tests.crosscoder.test_model import random_crosscoder, random_rows

M, D, L = 2, 5, 12


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def reference_weights() -> dict[str, torch.Tensor]:
    return {
        "W_enc": normal(M, D, L, seed=1),
        "W_dec": normal(L, M, D, seed=2),
        "b_enc": normal(L, seed=3),
        "b_dec": normal(M, D, seed=4),
    }


def test_the_reference_layout_is_read(tmp_path: Path):
    weights = reference_weights()
    torch.save(weights, tmp_path / "cc_weights.pt")
    (tmp_path / "cfg.json").write_text(json.dumps({"dict_size": L, "lr": 5e-5}))
    crosscoder = Crosscoder.load(tmp_path)
    x = normal(9, M, D, seed=8)
    f = torch.relu(torch.einsum("bmd,mdl->bl", x, weights["W_enc"]) + weights["b_enc"])
    torch.testing.assert_close(crosscoder.encode(x), f)
    x_hat = torch.einsum("bl,lmd->bmd", f, weights["W_dec"]) + weights["b_dec"]
    torch.testing.assert_close(crosscoder.decode(f), x_hat)
    assert not crosscoder.has_scale


def test_factors_can_be_given_for_the_reference_layout(tmp_path: Path):
    torch.save(reference_weights(), tmp_path / "cc_weights.pt")
    crosscoder = Crosscoder.load(tmp_path, activation_scale=[0.2758961493232058, 0.244])
    assert crosscoder.activation_scale.tolist() == pytest.approx([0.2758961493232058, 0.244])


def test_the_reference_layout_makes_the_round_trip(tmp_path: Path):
    crosscoder = random_crosscoder(gated=False).float()
    crosscoder.save(tmp_path, layout="reference")
    x_raw = random_rows(3, crosscoder).float()
    assert torch.equal(Crosscoder.load(tmp_path).reconstruct(x_raw), crosscoder.reconstruct(x_raw))


def test_the_reference_layout_refuses_thresholds(tmp_path: Path):
    with pytest.raises(ArtifactError, match="no thresholds"):
        random_crosscoder().save(tmp_path, layout="reference")


def test_a_written_reference_folder_has_what_its_own_reader_asks_for(tmp_path: Path):
    """Its constructor reads these six keys, and its weights are a strict state dict in fp32."""
    random_crosscoder(gated=False).save(tmp_path, layout="reference")
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert {"dict_size", "d_in", "enc_dtype", "dec_init_norm", "seed", "device"} <= config.keys()
    weights = torch.load(tmp_path / "cc_weights.pt", weights_only=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes == {"W_enc": (2, 6, 20), "W_dec": (20, 2, 6), "b_enc": (20,), "b_dec": (2, 6)}
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize("content", ["torch.save", "not a pickle", ""])
def test_no_message_repeats_advice_to_load_a_pickle_unsafely(tmp_path: Path, content: str):
    class Surprise:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("this must not run",)

    path = tmp_path / "cc_weights.pt"
    if content == "torch.save":
        torch.save({"W_enc": Surprise()}, path)
    else:
        path.write_text(content)
    with pytest.raises(ArtifactError) as caught:
        Crosscoder.load(tmp_path)
    message = str(caught.value)
    assert "weights_only" not in message
    assert "safe_globals" not in message
    assert "trust" not in message
    assert "\n" not in message
    assert str(path) in message


def test_a_whole_checkpoint_in_place_of_a_state_dict_is_refused(tmp_path: Path):
    torch.save({"model": reference_weights(), "step": 3}, tmp_path / "cc_weights.pt")
    with pytest.raises(ArtifactError, match="is no state dict of tensors, but a dict"):
        Crosscoder.load(tmp_path)


def test_a_pointer_in_place_of_a_large_file_is_told_with_the_command_that_fetches_it(
    tmp_path: Path,
):
    for name in ("cc_weights.pt", "model.safetensors"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        with pytest.raises(ArtifactError, match=f"{name} is a pointer .* `git lfs pull`"):
            Crosscoder.load(tmp_path)


def test_a_folder_in_place_of_the_configuration_is_told(tmp_path: Path):
    torch.save(reference_weights(), tmp_path / "cc_weights.pt")
    (tmp_path / "cfg.json").mkdir()
    with pytest.raises(ArtifactError, match=r"cfg\.json is not JSON .*directory"):
        Crosscoder.load(tmp_path)


def test_tensors_without_names_or_without_plain_values_are_refused(tmp_path: Path):
    whole = reference_weights()
    for odd, message in (
        ({1: whole["W_enc"]}, "is no state dict of tensors"),
        (whole | {"W_enc": whole["W_enc"].to_sparse()}, "W_enc is float32 in a sparse form"),
        (whole | {"b_enc": whole["b_enc"].to("meta")}, "b_enc is float32 without values"),
        (whole | {"W_enc": whole["W_enc"].to(torch.complex64)}, "W_enc is complex64, expected"),
        (whole | {"b_enc": whole["b_enc"] > 0}, "b_enc is bool, expected plain numbers"),
        (whole | {"threshold": whole["b_enc"]}, "it also holds threshold, which this layout"),
    ):
        torch.save(odd, tmp_path / "cc_weights.pt")
        with pytest.raises(ArtifactError, match=message):
            Crosscoder.load(tmp_path)


def test_weights_trained_in_several_processes_are_read_as_those_of_one(tmp_path: Path):
    for folder, prefix in (("one", ""), ("several", "module._orig_mod.")):
        (tmp_path / folder).mkdir()
        named = {f"{prefix}{name}": tensor for name, tensor in reference_weights().items()}
        torch.save(named, tmp_path / folder / "cc_weights.pt")
    one, several = (Crosscoder.load(tmp_path / folder) for folder in ("one", "several"))
    assert torch.equal(one.W_dec, several.W_dec)


def test_a_folded_crosscoder_is_not_normalised_a_second_time(tmp_path: Path):
    """Its factors of 1 are an answer: whoever loads it feeds raw activations, and gets the same."""
    crosscoder = random_crosscoder(gated=False).float()
    crosscoder.folded().save(tmp_path, layout="reference")
    loaded, x_raw = Crosscoder.load(tmp_path), random_rows(3, crosscoder).float()
    assert loaded.has_scale
    torch.testing.assert_close(loaded.reconstruct(x_raw), crosscoder.reconstruct(x_raw))


@pytest.mark.parametrize(("is_folded", "said"), [(True, "folded into"), (False, "multiplied by")])
def test_the_file_says_what_a_receiver_feeds(tmp_path: Path, is_folded: bool, said: str):
    """The reference's own class has no factors: both ways give it the same latents."""
    crosscoder = random_crosscoder(gated=False).float()
    (crosscoder.folded() if is_folded else crosscoder).save(tmp_path, layout="reference")
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert said in config["input"]
    weights = torch.load(tmp_path / "cc_weights.pt", weights_only=True)
    x_raw = random_rows(3, crosscoder).float()
    x = x_raw * torch.tensor(config["activation_scale"])[:, None]
    f = torch.relu(torch.einsum("bmd,mdl->bl", x, weights["W_enc"]) + weights["b_enc"])
    torch.testing.assert_close(f, crosscoder.latents(x_raw), rtol=1e-4, atol=1e-5)


def test_without_factors_raw_rows_are_refused_and_normalised_ones_are_not(tmp_path: Path):
    torch.save(reference_weights(), tmp_path / "cc_weights.pt")
    crosscoder, x = Crosscoder.from_pretrained(tmp_path), normal(9, M, D)
    crosscoder.encode(x)
    for use in (crosscoder.latents, crosscoder.reconstruct, crosscoder.denormalise):
        with pytest.raises(ArtifactError, match=r"load\(activation_scale=.*measure_scale\(x_raw\)"):
            use(x)
    with pytest.raises(ArtifactError, match="not known"):
        crosscoder.folded()
    crosscoder.save(tmp_path / "again", layout="reference")
    assert not Crosscoder.load(tmp_path / "again").has_scale


def test_factors_can_be_measured_on_rows(tmp_path: Path):
    torch.save(reference_weights(), tmp_path / "cc_weights.pt")
    x_raw = normal(200, M, D) * torch.tensor([3.0, 7.0])[:, None]
    crosscoder = Crosscoder.load(tmp_path).measure_scale(x_raw)
    norms_M = crosscoder.normalise(x_raw).norm(dim=-1).mean(0)
    torch.testing.assert_close(norms_M, torch.full((M,), D**0.5))
    crosscoder.save(tmp_path / "ours")
    assert Crosscoder.load(tmp_path / "ours").has_scale


@pytest.mark.parametrize("given", [[1.0], [1.0, -1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_factors_that_cannot_be_are_refused(tmp_path: Path, given: list[float]):
    torch.save(reference_weights(), tmp_path / "cc_weights.pt")
    with pytest.raises(ArtifactError, match=r"one (finite number above 0 )?per model"):
        Crosscoder.load(tmp_path, activation_scale=given)


def test_the_files_of_the_references_own_trainer_are_read_the_last_first(tmp_path: Path):
    """`N.pt` beside `N_cfg.json`, numbered from 0 as training goes on."""
    for n in (0, 9, 10):
        weights = reference_weights()
        weights["b_enc"] += n
        torch.save(weights, tmp_path / f"{n}.pt")
        (tmp_path / f"{n}_cfg.json").write_text(json.dumps({"dict_size": L, "d_in": D}))
    last, b_enc = Crosscoder.load(tmp_path), reference_weights()["b_enc"]
    torch.testing.assert_close(last.b_enc_L, b_enc + 10)
    torch.testing.assert_close(Crosscoder.load(tmp_path / "9.pt").b_enc_L, b_enc + 9)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dict_size": L + 1}, f"n_latents is {L + 1}, but the tensors have {L}"),
        ({"d_in": 2304}, f"d_model is 2304, but the tensors have {D}"),
        ({"n_models": 3}, "n_models is 3, but the tensors have 2"),
        ({"activation_scale": "0.27"}, "activation_scale is '0.27', expected a list of numbers"),
        ({"activation_scale": [0.27]}, r"activation_scale has shape \(1,\), expected \(2,\)"),
        ({"activation_scale": [0.27, 0]}, "above 0 per model"),
    ],
)
def test_a_config_that_contradicts_the_tensors_is_refused(
    tmp_path: Path, config: dict, message: str
):
    torch.save(reference_weights(), tmp_path / "cc_weights.pt")
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=message):
        Crosscoder.load(tmp_path)


def test_weights_of_something_else_are_refused_with_what_they_have(tmp_path: Path):
    torch.save({"W_dec": normal(L, M, D), "gate": normal(L)}, tmp_path / "cc_weights.pt")
    with pytest.raises(ArtifactError, match=r"lacks W_enc, b_enc, b_dec \(it has W_dec, gate\)"):
        Crosscoder.load(tmp_path)


def test_the_layer_that_the_file_records_is_known_in_this_projects_counting(tmp_path: Path):
    torch.save(reference_weights(), tmp_path / "cc_weights.pt")
    config = {"hook_point": "blocks.14.hook_resid_pre", "model_name": "gemma-2-2b"}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    provenance = Crosscoder.load(tmp_path).provenance
    assert provenance == {"cfg": config, "hook_point": {"layer": 14}}
