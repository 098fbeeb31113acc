"""The two public layouts of crosscoder weights, read and written.

Reference (ckkissane/crosscoder-model-diff-replication): `cfg.json` + `cc_weights.pt` with
    W_enc [M, D, L], W_dec [L, M, D], b_enc [L], b_dec [M, D], all in normalised space; the
    normalisation factors are not stored, so they have to be given or measured.
Learning (crosscoder_learning, dictionary_learning): `config.json` + `model.safetensors` with
    encoder.weight [M, D, L], encoder.bias [L], decoder.weight [M, L, D], decoder.bias [M, D],
    the buffers `code_normalization_id`, `activation_mean` and `activation_std` [M, D], and for
    BatchTopK `k` and `threshold`. It normalises by (x - mean_m) * scale_m, with
    scale_m = target_rms / sqrt(sum_d std_m^2).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from pipeline.artifacts import write_json
from pipeline.crosscoder.model import Crosscoder
from pipeline.errors import ArtifactError

REFERENCE_CONFIG, REFERENCE_WEIGHTS = "cfg.json", "cc_weights.pt"
LEARNING_CONFIG, LEARNING_WEIGHTS = "config.json", "model.safetensors"

# Values of crosscoder_learning's enumeration: what a threshold is compared with.
SUM_OF_NORMS, NORM_OF_CONCATENATION, UNSCALED = 1, 2, 4


def load(folder: Path) -> Crosscoder | None:
    """The crosscoder in `folder`, or None where it holds neither public layout."""
    if (folder / LEARNING_WEIGHTS).exists():
        return load_learning(folder)
    if (folder / REFERENCE_WEIGHTS).exists():
        return load_reference(folder)
    return None


def load_reference(folder: Path, activation_scale: Sequence[float] | None = None) -> Crosscoder:
    """A crosscoder of the reference layout. Files of others lack the factors [M]: where none are
    given they are 1, and the crosscoder works on activations that are already normalised."""
    path = folder / REFERENCE_WEIGHTS
    if activation_scale is None and (folder / REFERENCE_CONFIG).exists():
        config = json.loads((folder / REFERENCE_CONFIG).read_text())
        activation_scale = config.get("activation_scale")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return Crosscoder.from_weights(
            kind="l1",
            W_enc=weights["W_enc"].float(),
            W_dec=weights["W_dec"].float(),
            b_enc=weights["b_enc"].float(),
            b_dec=weights["b_dec"].float(),
            activation_scale=None if activation_scale is None else torch.tensor(activation_scale),
        )
    except Exception as error:  # torch.load raises what the damaged archive makes it raise
        raise ArtifactError(
            f"{path} does not hold a crosscoder of the reference layout ({error}): "
            "download it again, or name another folder"
        ) from error


def save_reference(crosscoder: Crosscoder, folder: Path) -> None:
    """Write the reference layout, with every key of `cfg.json` that the reference's own reader
    asks for. It can hold neither thresholds nor factors: thresholds are refused (ArtifactError),
    factors go to `cfg.json` under a key of ours."""
    if bool((crosscoder.threshold > 0).any()):
        raise ArtifactError(
            f"the reference layout holds no thresholds, which a {crosscoder.kind} crosscoder "
            "needs: save it in this project's layout instead"
        )
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: getattr(crosscoder, name).detach().cpu().float().contiguous()
        for name in ("W_enc", "W_dec", "b_enc", "b_dec")
    }
    torch.save(weights, folder / REFERENCE_WEIGHTS)
    config = {
        "dict_size": crosscoder.n_latents,
        "d_in": crosscoder.d_model,
        "n_models": crosscoder.n_models,
        "enc_dtype": "fp32",
        "dec_init_norm": 0.08,  # of weights that its reader draws and then overwrites
        "seed": 49,
        "device": "cpu",
        "activation_scale": crosscoder.activation_scale.tolist(),
    }
    write_json(folder / REFERENCE_CONFIG, config)


def load_learning(folder: Path) -> Crosscoder:
    """A crosscoder of the crosscoder_learning layout; its centring is folded into the biases."""
    path = folder / LEARNING_WEIGHTS
    try:
        raw = safetensors.torch.load_file(path)
        tensors = {name.removeprefix("_orig_mod."): tensor for name, tensor in raw.items()}
        return _from_learning(tensors)
    except ArtifactError:
        raise
    except Exception as error:  # damaged file, missing tensors, shapes that do not fit
        raise ArtifactError(
            f"{path} does not hold a crosscoder of the crosscoder_learning layout ({error}): "
            "download it again, or name another folder"
        ) from error


def _from_learning(tensors: dict[str, Tensor]) -> Crosscoder:
    W_enc = tensors["encoder.weight"].float()
    W_dec = tensors["decoder.weight"].float().permute(1, 0, 2)
    scale_M, mean_MD = _learning_normalisation(tensors, tuple(W_dec.shape[1:]))
    centre_MD = scale_M[:, None] * mean_MD
    return Crosscoder.from_weights(
        kind="batch_topk" if "threshold" in tensors else "l1",
        W_enc=W_enc,
        W_dec=W_dec,
        b_enc=tensors["encoder.bias"].float() - torch.einsum("md,mdl->l", centre_MD, W_enc),
        b_dec=tensors["decoder.bias"].float() + centre_MD,
        activation_scale=scale_M,
        threshold=_learning_threshold(tensors, W_dec),
    )


def _learning_normalisation(
    tensors: dict[str, Tensor], shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Factor [M] and mean [M, D]; 1 and 0 where the file has no normaliser (absent or NaN)."""
    mean_MD, std_MD = tensors.get("activation_mean"), tensors.get("activation_std")
    if mean_MD is None or std_MD is None or bool(torch.isnan(mean_MD).any()):
        return torch.ones(shape[0]), torch.zeros(shape)
    if "activation_global_scale" in tensors:
        return tensors["activation_global_scale"].float(), mean_MD.float()
    target_rms = tensors.get("target_rms", torch.tensor(1.0)).float()
    return target_rms / (std_MD.float().square().sum(-1) + 1e-8).sqrt(), mean_MD.float()


def _learning_threshold(tensors: dict[str, Tensor], W_dec_LMD: Tensor) -> Tensor | None:
    """Threshold per latent, in units of f; None for a ReLU."""
    theta = tensors.get("threshold")
    if theta is None:
        return None
    norms_LM = W_dec_LMD.norm(dim=-1)
    identifier = int(tensors.get("code_normalization_id", torch.tensor(SUM_OF_NORMS)))
    if identifier == SUM_OF_NORMS:
        scale_L = norms_LM.sum(-1)
    elif identifier == NORM_OF_CONCATENATION:
        scale_L = norms_LM.square().sum(-1).sqrt()
    elif identifier == UNSCALED:
        scale_L = torch.ones(len(norms_LM))
    else:
        raise ArtifactError(
            f"code_normalization_id is {identifier}; this reader knows {SUM_OF_NORMS} (sum of "
            f"norms), {NORM_OF_CONCATENATION} (norm of the concatenation) and {UNSCALED} (none): "
            "convert the crosscoder first"
        )
    return theta.float().clamp_min(0) / scale_L


def save_learning(crosscoder: Crosscoder, folder: Path, *, k: int | None = None) -> None:
    """Write the crosscoder_learning layout; `k` is stored for BatchTopK (default that of the
    provenance, else 0, unknown).

    Raises ArtifactError where the thresholds are not one value of f * sum_m ||d_m||.
    """
    tensors = {
        "encoder.weight": crosscoder.W_enc,
        "encoder.bias": crosscoder.b_enc,
        "decoder.weight": crosscoder.W_dec.permute(1, 0, 2),
        "decoder.bias": crosscoder.b_dec,
        "code_normalization_id": torch.tensor(SUM_OF_NORMS),
        **_learning_buffers(crosscoder),
    }
    gated = bool((crosscoder.threshold > 0).any())
    if gated:
        tensors["threshold"] = _one_threshold(crosscoder)
        k = k or crosscoder.provenance.get("crosscoder", {}).get("k", 0)
        tensors["k"] = torch.tensor(k, dtype=torch.int32)
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(plain, folder / LEARNING_WEIGHTS)
    config: dict[str, Any] = {
        "activation_dim": crosscoder.d_model,
        "dict_size": crosscoder.n_latents,
        "num_layers": crosscoder.n_models,
        "code_normalization": "CROSSCODER",
        "dict_class": "BatchTopKCrossCoder" if gated else "CrossCoder",
    }
    write_json(folder / LEARNING_CONFIG, config | ({"k": k} if gated else {}))


def _learning_buffers(crosscoder: Crosscoder) -> dict[str, Tensor]:
    """A mean of 0 and the standard deviation [M, D] whose derived factor is ours."""
    scale_M = crosscoder.activation_scale.detach().cpu()
    std_M = 1.0 / (scale_M * crosscoder.d_model**0.5)
    shape = (crosscoder.n_models, crosscoder.d_model)
    return {
        "activation_mean": torch.zeros(shape),
        "activation_std": std_M[:, None].expand(shape),
        "activation_global_scale": scale_M,
        "target_rms": torch.tensor(1.0),
    }


def _one_threshold(crosscoder: Crosscoder) -> Tensor:
    norm_L = crosscoder.decoder_norms().sum(-1).detach()
    theta_L = (crosscoder.threshold * norm_L)[norm_L > 0]
    theta = theta_L.median()
    if not torch.allclose(theta_L, theta.expand_as(theta_L), rtol=1e-4):
        raise ArtifactError(
            f"thresholds on f * sum_m ||d_m|| range from {theta_L.min():.4g} to "
            f"{theta_L.max():.4g}, but the crosscoder_learning layout holds one: save this "
            f"{crosscoder.kind} crosscoder in this project's layout instead"
        )
    return theta
