"""Files in the documented public layouts, made here from their documentation."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.crosscoder import load
from pipeline.crosscoder.public_formats import (
    load_reference,
    save_learning,
    save_reference,
)
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


def test_the_reference_layout_is_read(tmp_path: Path):
    weights = reference_weights()
    torch.save(weights, tmp_path / "cc_weights.pt")
    (tmp_path / "cfg.json").write_text(json.dumps({"dict_size": L, "lr": 5e-5}))
    crosscoder = load(tmp_path)
    x = normal(9, M, D, seed=8)
    f = torch.relu(torch.einsum("bmd,mdl->bl", x, weights["W_enc"]) + weights["b_enc"])
    torch.testing.assert_close(crosscoder.encode(x), f)
    x_hat = torch.einsum("bl,lmd->bmd", f, weights["W_dec"]) + weights["b_dec"]
    torch.testing.assert_close(crosscoder.decode(f), x_hat)
    assert crosscoder.activation_scale.tolist() == [1.0, 1.0]


def test_factors_can_be_given_for_the_reference_layout(tmp_path: Path):
    torch.save(reference_weights(), tmp_path / "cc_weights.pt")
    crosscoder = load_reference(tmp_path, activation_scale=[0.2758961493232058, 0.244])
    assert crosscoder.activation_scale.tolist() == pytest.approx([0.2758961493232058, 0.244])


def test_a_reference_file_with_code_in_it_is_refused(tmp_path: Path):
    class Surprise:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("this must not run",)

    torch.save({"W_enc": Surprise()}, tmp_path / "cc_weights.pt")
    with pytest.raises(ArtifactError, match="does not hold a crosscoder"):
        load(tmp_path)


@pytest.mark.parametrize("gated", [False, True])
def test_the_learning_layout_is_read_with_its_normaliser_and_threshold(tmp_path: Path, gated: bool):
    tensors = learning_weights(gated=gated)
    save_file(tensors, tmp_path / "model.safetensors")
    crosscoder = load(tmp_path)
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
    assert load(tmp_path).activation_scale.tolist() == [1.0, 1.0]


def test_the_reference_layout_makes_the_round_trip(tmp_path: Path):
    crosscoder = random_crosscoder(gated=False).float()
    save_reference(crosscoder, tmp_path)
    x_raw = random_rows(3, crosscoder).float()
    assert torch.equal(load(tmp_path).reconstruct(x_raw), crosscoder.reconstruct(x_raw))


def test_the_reference_layout_refuses_thresholds(tmp_path: Path):
    with pytest.raises(ArtifactError, match="no thresholds"):
        save_reference(random_crosscoder(), tmp_path)


def test_the_learning_layout_makes_the_round_trip(tmp_path: Path):
    crosscoder = random_crosscoder().float()
    crosscoder.threshold_L.copy_(2.5 / crosscoder.decoder_norms().sum(-1))
    save_learning(crosscoder, tmp_path, k=3)
    loaded, x_raw = load(tmp_path), random_rows(3, crosscoder).float()
    torch.testing.assert_close(loaded.threshold, crosscoder.threshold)
    torch.testing.assert_close(loaded.reconstruct(x_raw), crosscoder.reconstruct(x_raw))


def test_a_written_learning_file_says_what_its_own_reader_expects(tmp_path: Path):
    crosscoder = random_crosscoder(gated=False).float()
    save_learning(crosscoder, tmp_path)
    from safetensors.torch import load_file

    x_raw = random_rows(3, crosscoder).float()
    f, x_hat_raw = learning_forward(load_file(tmp_path / "model.safetensors"), x_raw)
    torch.testing.assert_close(f, crosscoder.encode(crosscoder.normalise(x_raw)))
    torch.testing.assert_close(x_hat_raw, crosscoder.reconstruct(x_raw))


def test_the_learning_layout_refuses_thresholds_that_differ(tmp_path: Path):
    with pytest.raises(ArtifactError, match="holds one"):
        save_learning(random_crosscoder(), tmp_path)


def test_a_damaged_learning_file_is_an_error(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactError, match="crosscoder_learning layout"):
        load(tmp_path)


def test_a_written_reference_folder_has_what_its_own_reader_asks_for(tmp_path: Path):
    """Its constructor reads these six keys, and its weights are a strict state dict in fp32."""
    save_reference(random_crosscoder(gated=False), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert {"dict_size", "d_in", "enc_dtype", "dec_init_norm", "seed", "device"} <= config.keys()
    weights = torch.load(tmp_path / "cc_weights.pt", weights_only=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes == {"W_enc": (2, 6, 20), "W_dec": (20, 2, 6), "b_enc": (20,), "b_dec": (2, 6)}
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_the_k_of_a_trained_crosscoder_goes_to_the_learning_layout(tmp_path: Path):
    from safetensors.torch import load_file

    crosscoder = random_crosscoder().float()
    crosscoder.provenance = {"crosscoder": {"k": 32}}
    crosscoder.threshold_L.copy_(2.5 / crosscoder.decoder_norms().sum(-1))
    crosscoder.save(tmp_path, layout="learning")
    assert int(load_file(tmp_path / "model.safetensors")["k"]) == 32
    assert json.loads((tmp_path / "config.json").read_text())["k"] == 32
