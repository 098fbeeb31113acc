"""The crosscoder_learning layout: files made here from its documentation."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.crosscoder import Crosscoder
from pipeline.errors import ArtifactError
from tests.crosscoder.test_model import random_crosscoder, random_rows

M, D, L = 2, 5, 12


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learning_weights(*, gated: bool) -> dict[str, torch.Tensor]:
    tensors = {
        "encoder.weight": normal(M, D, L, seed=1),
        "encoder.bias": normal(L, seed=3),
        "decoder.weight": normal(M, L, D, seed=2),
        "decoder.bias": normal(M, D, seed=4),
        "code_normalization_id": torch.tensor(1),
        "activation_mean": normal(M, D, seed=5),
        "activation_std": normal(M, D, seed=6).abs() + 0.5,
        "target_rms": torch.tensor(1.0),
    }
    if gated:
        tensors |= {"k": torch.tensor(3, dtype=torch.int32), "threshold": torch.tensor(4.0)}
    return tensors


def learning_forward(
    tensors: dict[str, torch.Tensor], x_raw: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(f, reconstruction in raw units) as crosscoder_learning documents them."""
    scale = tensors["target_rms"] / tensors["activation_std"].square().sum(-1).sqrt()
    x = (x_raw - tensors["activation_mean"]) * scale[:, None]
    pre = torch.einsum("bmd,mdl->bl", x, tensors["encoder.weight"]) + tensors["encoder.bias"]
    f = torch.relu(pre)
    if "threshold" in tensors:
        norms = tensors["decoder.weight"].norm(dim=2).sum(0)
        f = f * (f * norms > tensors["threshold"])
    x_hat = torch.einsum("bl,mld->bmd", f, tensors["decoder.weight"]) + tensors["decoder.bias"]
    return f, x_hat / scale[:, None] + tensors["activation_mean"]


@pytest.mark.parametrize("gated", [False, True])
def test_the_learning_layout_is_read_with_its_normaliser_and_threshold(tmp_path: Path, gated: bool):
    tensors = learning_weights(gated=gated)
    save_file(tensors, tmp_path / "model.safetensors")
    crosscoder = Crosscoder.load(tmp_path)
    x_raw = normal(40, M, D, seed=8) * 3
    f, x_hat_raw = learning_forward(tensors, x_raw)
    torch.testing.assert_close(
        crosscoder.encode(crosscoder.normalise(x_raw)), f, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(crosscoder.reconstruct(x_raw), x_hat_raw, rtol=1e-4, atol=1e-4)
    assert crosscoder.kind == ("batch_topk" if gated else "l1")


def test_a_learning_file_without_normaliser_works_on_its_input_as_it_is(tmp_path: Path):
    tensors = learning_weights(gated=False)
    for name in ("activation_mean", "activation_std"):
        tensors[name] = torch.full((M, D), torch.nan)
    save_file(tensors, tmp_path / "model.safetensors")
    assert Crosscoder.load(tmp_path).activation_scale.tolist() == [1.0, 1.0]


def test_the_learning_layout_makes_the_round_trip(tmp_path: Path):
    crosscoder = random_crosscoder().float()
    crosscoder.threshold_L.copy_(2.5 / crosscoder.decoder_norms().sum(-1))
    crosscoder.save(tmp_path, layout="learning")
    loaded, x_raw = Crosscoder.load(tmp_path), random_rows(3, crosscoder).float()
    torch.testing.assert_close(loaded.threshold, crosscoder.threshold)
    torch.testing.assert_close(loaded.reconstruct(x_raw), crosscoder.reconstruct(x_raw))


def test_a_written_learning_file_says_what_its_own_reader_expects(tmp_path: Path):
    crosscoder = random_crosscoder(gated=False).float()
    crosscoder.save(tmp_path, layout="learning")
    from safetensors.torch import load_file

    x_raw = random_rows(3, crosscoder).float()
    f, x_hat_raw = learning_forward(load_file(tmp_path / "model.safetensors"), x_raw)
    torch.testing.assert_close(f, crosscoder.encode(crosscoder.normalise(x_raw)))
    torch.testing.assert_close(x_hat_raw, crosscoder.reconstruct(x_raw))


def test_the_learning_layout_refuses_thresholds_that_differ(tmp_path: Path):
    with pytest.raises(ArtifactError, match="holds one"):
        random_crosscoder().save(tmp_path, layout="learning")


def test_a_damaged_learning_file_is_an_error(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        Crosscoder.load(tmp_path)


def test_the_k_of_a_trained_crosscoder_goes_to_the_learning_layout(tmp_path: Path):
    from safetensors.torch import load_file

    crosscoder = random_crosscoder().float()
    crosscoder.provenance = {"crosscoder": {"k": 32}}
    crosscoder.threshold_L.copy_(2.5 / crosscoder.decoder_norms().sum(-1))
    crosscoder.save(tmp_path, layout="learning")
    assert int(load_file(tmp_path / "model.safetensors")["k"]) == 32
    assert json.loads((tmp_path / "config.json").read_text())["k"] == 32


@pytest.mark.parametrize("name", ["model_final.pt", "final.pt", "ae.pt", "step_300.pt"])
def test_the_files_of_its_own_trainers_are_read(tmp_path: Path, name: str):
    """A state dict, with the prefix of a compiled module, and settings below `trainer`."""
    tensors = learning_weights(gated=True)
    compiled = {
        f"encoder._orig_mod.{n.removeprefix('encoder.')}" if n.startswith("encoder") else n: t
        for n, t in tensors.items()
    }
    torch.save({f"_orig_mod.{n}": t for n, t in compiled.items()}, tmp_path / name)
    settings = {"activation_dim": D, "dict_size": L, "dict_class": "BatchTopKCrossCoder"}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": settings, "buffer": {}}))
    x_raw = normal(40, M, D, seed=8) * 3
    crosscoder, (f, _) = Crosscoder.load(tmp_path), learning_forward(tensors, x_raw)
    torch.testing.assert_close(crosscoder.latents(x_raw), f, rtol=1e-4, atol=1e-4)
    assert crosscoder.provenance["crosscoder"] == {"k": 3}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": settings | {"dict_size": 7}}))
    with pytest.raises(ArtifactError, match=f"n_latents is 7, but the tensors have {L}"):
        Crosscoder.load(tmp_path)


@pytest.mark.parametrize("theta", [None, -1.0])
def test_a_missing_threshold_is_told_and_can_be_calibrated(tmp_path: Path, theta: float | None):
    """Its trainer starts at -1; a ReLU in its place would keep half of all latents."""
    tensors = learning_weights(gated=True)
    del tensors["threshold"]
    if theta is not None:
        tensors["threshold"] = torch.tensor(theta)
    save_file(tensors, tmp_path / "model.safetensors")
    crosscoder, x_raw = Crosscoder.load(tmp_path), normal(400, M, D, seed=8) * 3
    assert crosscoder.kind == "batch_topk"
    with pytest.raises(ArtifactError, match=r"no inference threshold .* calibrate\(x_raw, k="):
        crosscoder.latents(x_raw)
    with pytest.raises(ArtifactError, match="not known"):
        crosscoder.save(tmp_path / "ours")
    active = (crosscoder.calibrate(x_raw).latents(x_raw) > 0).sum(-1).double()
    assert float(active.mean()) == pytest.approx(3.0)
    crosscoder.save(tmp_path / "ours")
    again = Crosscoder.load(tmp_path / "ours")
    assert torch.equal(again.latents(x_raw), crosscoder.latents(x_raw))


@pytest.mark.parametrize("key", ["dict_class", "trainer_class"])
def test_a_file_that_only_its_class_tells_to_be_batch_topk_needs_k(tmp_path: Path, key: str):
    tensors = learning_weights(gated=False)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({key: "BatchTopKCrossCoder"}))
    crosscoder, x_raw = Crosscoder.load(tmp_path), normal(400, M, D, seed=8)
    with pytest.raises(ArtifactError, match=r"calibrate\(k="):
        crosscoder.calibrate(x_raw)
    with pytest.raises(ArtifactError, match=f"k is {L}, but the crosscoder has {L} latents"):
        crosscoder.calibrate(x_raw, k=L)
    active = (crosscoder.calibrate(x_raw, k=2).latents(x_raw) > 0).sum(-1).double()
    assert float(active.mean()) == pytest.approx(2.0)


def test_k_beside_the_weights_tells_that_they_are_no_relu(tmp_path: Path):
    save_file(learning_weights(gated=False), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"k": 2}))
    crosscoder = Crosscoder.load(tmp_path)
    assert crosscoder.kind == "batch_topk"
    assert not crosscoder.has_threshold
    (tmp_path / "config.json").write_text(json.dumps({"dict_class": "TopKCrossCoder", "k": 2}))
    with pytest.raises(ArtifactError, match="TopKCrossCoder, expected CrossCoder or BatchTopK"):
        Crosscoder.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.weight": normal(1, D, L)}, r"W_enc has shape \(1, 5, 12\), expected \(2, 5"),
        ({"encoder.weight": normal(D, L)}, r"W_enc has shape \(5, 12\)"),
        ({"encoder.bias": normal(1)}, r"b_enc has shape \(1,\), expected \(12,\)"),
        ({"decoder.weight": normal(L, D)}, r"W_dec has shape \(12, 5\), expected three axes"),
        ({"activation_mean": normal(D)}, r"activation_mean has shape \(5,\), expected \(2, 5\)"),
        ({"activation_std": normal(1, D)}, r"activation_std has shape \(1, 5\), expected"),
        ({"threshold": normal(M)}, r"threshold has shape \(2,\), expected \(\)"),
        ({"activation_global_scale": torch.ones(M)}, "unit by unit"),
        ({"encoder.weight": normal(M, D, L) / 0}, "W_enc holds .* not finite"),
        ({"code_normalization_id": torch.tensor(5)}, "code_normalization_id is 5"),
        ({"code_normalization_id": torch.tensor(1.5)}, r"code_normalization_id is 1\.5, expected"),
        ({"code_normalization_id": torch.ones(2)}, r"code_normalization_id is \[1\.0, 1\.0\]"),
        ({"k": torch.tensor([3, 4])}, r"k is \[3, 4\], expected a whole number"),
        ({"k": torch.tensor(torch.nan)}, "k is nan, expected a whole number"),
        ({"k": torch.tensor(-1)}, "k is -1, expected a whole number"),
        ({"target_rms": torch.ones(3)}, r"target_rms has shape \(3,\), expected \(\)"),
        ({"activation_std": normal(M, D + 1)}, r"activation_std has shape \(2, 6\), expected"),
        (
            {"activation_std": normal(M, D).fill_diagonal_(torch.nan)},
            "activation_std holds 2 values",
        ),
        ({"activation_mean": normal(M, D) / 0}, "activation_mean holds 10 values"),
        ({"encoder.weight": normal(M, D, L).to(torch.complex64)}, "weight is complex64, expected"),
    ],
)
def test_tensors_that_only_broadcast_or_mean_something_else_are_refused(
    tmp_path: Path, change: dict[str, torch.Tensor], message: str
):
    save_file(learning_weights(gated=True) | change, tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match=message) as caught:
        Crosscoder.load(tmp_path)
    assert str(tmp_path / "model.safetensors") in str(caught.value)


def test_half_a_normaliser_is_refused_and_one_that_was_never_measured_is_none(tmp_path: Path):
    tensors = learning_weights(gated=True)
    half = {name: tensor for name, tensor in tensors.items() if name != "activation_std"}
    save_file(half, tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match="it lacks activation_std"):
        Crosscoder.load(tmp_path)
    unmeasured = torch.full((M, D), torch.nan)
    both = {"activation_mean": unmeasured, "activation_std": unmeasured.clone()}
    save_file(tensors | both, tmp_path / "model.safetensors")
    assert Crosscoder.load(tmp_path).activation_scale.tolist() == [1, 1]


def test_a_tensor_that_is_there_with_and_without_a_prefix_is_refused(tmp_path: Path):
    tensors = learning_weights(gated=True)
    torch.save(tensors | {"module.threshold": torch.tensor(1.0)}, tmp_path / "ae.pt")
    with pytest.raises(ArtifactError, match="it holds threshold twice"):
        Crosscoder.load(tmp_path)


@pytest.mark.parametrize("k", ["100", 2.5, [3], -1])
def test_a_k_that_is_no_count_is_refused(tmp_path: Path, k: object):
    tensors = {n: t for n, t in learning_weights(gated=True).items() if n != "k"}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"k": k}))
    with pytest.raises(ArtifactError, match="expected a whole number"):
        Crosscoder.load(tmp_path)


@pytest.mark.parametrize("layers", [[0], [1, 0], 0, "01"])
def test_an_encoder_over_other_models_than_all_in_order_is_refused(tmp_path: Path, layers: object):
    save_file(learning_weights(gated=False), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"encoder_layers": layers}))
    with pytest.raises(ArtifactError, match="its encoder sees the models"):
        Crosscoder.load(tmp_path)
