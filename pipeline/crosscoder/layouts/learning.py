"""The layout of crosscoder_learning and dictionary_learning.

encoder.weight [M, D, L], encoder.bias [L], decoder.weight [M, L, D], decoder.bias [M, D], the
buffers `code_normalization_id`, `activation_mean` and `activation_std` [M, D], and for BatchTopK
`k` and `threshold`: `model.safetensors` with `config.json` on the Hub, `model_final.pt` and the
like as its trainers save them. It normalises by (x - mean_m) * scale_m, with
scale_m = target_rms / sqrt(sum_d std_m^2); without mean and std it takes activations as they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts import write_json
from pipeline.crosscoder.layouts.source import Source, check_held, check_told, take, whole_number
from pipeline.crosscoder.tensor_files import write_tensors
from pipeline.crosscoder.weights import Outline, Weights, shape_by
from pipeline.errors import ArtifactError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TENSORS = ("encoder.weight", "decoder.weight", "encoder.bias", "decoder.bias")

SUM_OF_NORMS, NORM_OF_CONCATENATION, UNSCALED = 1, 2, 4
"""Values of crosscoder_learning's enumeration: what a threshold is compared with."""

SMALL = 1e-8
"""What crosscoder_learning adds below its root, so that a constant activation divides by no 0."""


def outline(source: Source) -> Outline:
    """What the files tell without the weights."""
    check_held(source.headers, *TENSORS)
    decoder, config = source.headers["decoder.weight"], _told(source)
    axes = decoder.movedim(0, 1).shape if decoder.ndim == 3 else decoder.shape
    told = {
        "n_models": config.get("num_layers"),
        "d_model": config.get("activation_dim"),
        "n_latents": config.get("dict_size"),
    }
    shape = shape_by("W_dec", axes)
    check_told(told, shape, source.told_by)
    return Outline(shape, {"config": dict(config)} if config else {})


def read(source: Source) -> Weights:
    """The weights; the centring is folded into the biases."""
    outlined, config, tensors = outline(source), _told(source), source.tensors
    W_enc, decoder, b_enc, b_dec = (tensor.float() for tensor in take(tensors, *TENSORS))
    raw = Weights(  # what follows may rely on the shapes
        kind="batch_topk" if _is_batch_topk(tensors, config) else "l1",
        W_enc=W_enc,
        W_dec=decoder.movedim(0, 1),
        b_enc=b_enc,
        b_dec=b_dec,
    )
    _check_encoder_layers(config, raw)
    scale_M, mean_MD = _normalisation(tensors, raw)
    centre_MD = scale_M[:, None] * mean_MD
    return Weights(
        kind=raw.kind,
        W_enc=W_enc,
        W_dec=raw.W_dec,
        b_enc=b_enc - torch.einsum("md,mdl->l", centre_MD, W_enc),
        b_dec=b_dec + centre_MD,
        activation_scale=scale_M,
        threshold=_threshold(tensors, raw),
        provenance={**outlined.provenance, **_sparsity(tensors, config)},
    )


def _told(source: Source) -> Mapping[str, Any]:
    """Its trainers keep their settings below `trainer`, the Hub's files have them at the top."""
    trainer = source.config.get("trainer")
    return trainer if isinstance(trainer, dict) else source.config


def _is_batch_topk(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> bool:
    """A file may lack the threshold; `k` and the classes it names tell as well. ArtifactError for a
    class that keeps the k largest of each row, which no threshold stands for."""
    classes = [str(config.get(key) or "") for key in ("dict_class", "trainer_class")]
    by_row = [name for name in classes if "TopK" in name and "BatchTopK" not in name]
    if by_row:
        raise ArtifactError(
            f"its class is {by_row[0]:.60}, expected CrossCoder or BatchTopKCrossCoder: one that "
            "keeps the k largest latents of each row cannot be read here"
        )
    is_told = bool(config.get("k")) or any("BatchTopK" in name for name in classes)
    return is_told or not tensors.keys().isdisjoint({"threshold", "k"})


def _check_encoder_layers(config: Mapping[str, Any], weights: Weights) -> None:
    """An encoder that sees the models in another order has shapes like any other."""
    layers = config.get("encoder_layers")
    if layers is not None and layers != list(range(weights.shape[0])):
        raise ArtifactError(
            f"its encoder sees the models {layers!r:.60} of {weights.shape[0]}, expected all in "
            "order: such a crosscoder cannot be read here"
        )


def _normalisation(tensors: Mapping[str, Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
    """Factor [M] and mean [M, D]; 1 and 0 where the file has no normaliser: both absent, or NaN
    throughout, as they are before they are measured."""
    shape = tuple(weights.b_dec.shape)
    found = {
        name: tensors[name] for name in ("activation_mean", "activation_std") if name in tensors
    }
    if all(bool(tensor.isnan().all()) for tensor in found.values()):
        return torch.ones(shape[0]), torch.zeros(shape)
    mean_MD, std_MD = take(tensors, "activation_mean", "activation_std")
    for name, tensor in found.items():
        _check_shape(name, tensor, shape)
        if not bool(tensor.isfinite().all()):
            raise ArtifactError(
                f"{name} holds {int((~tensor.isfinite()).sum()):,} values that are not finite: its "
                "training went wrong or the file is damaged, take an earlier one"
            )
    target_rms = tensors.get("target_rms", torch.tensor(1.0)).float()
    _check_shape("target_rms", target_rms, ())
    scale_M = target_rms / (std_MD.float().square().sum(-1) + SMALL).sqrt()
    stored_M = tensors.get("activation_global_scale", scale_M).float()
    _check_shape("activation_global_scale", stored_M, shape[:1])
    if not torch.allclose(stored_M, scale_M, rtol=1e-3):
        raise ArtifactError(
            f"activation_global_scale is {stored_M.tolist()}, but activation_std gives "
            f"{scale_M.tolist()}: it was normalised unit by unit, which cannot be read here"
        )
    return stored_M, mean_MD.float()


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ArtifactError(
            f"{name} has shape {tuple(tensor.shape)}, expected {shape} by decoder.weight: these "
            "tensors are not those of one crosscoder"
        )


def _threshold(tensors: Mapping[str, Tensor], weights: Weights) -> Tensor | None:
    """Threshold per latent, in units of f; 0 for a ReLU, None where BatchTopK's was never set: its
    trainer starts it at -1 and moves it after its first 1,000 steps."""
    if weights.kind == "l1":
        return torch.zeros_like(weights.b_enc)
    theta = tensors.get("threshold")
    if theta is None:
        return None
    norms_LM = weights.W_dec.norm(dim=-1)
    told = tensors.get("code_normalization_id", SUM_OF_NORMS)
    identifier = whole_number("code_normalization_id", told)
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
    _check_shape("threshold", theta, ())
    # A latent without any decoder writes nothing: what it is compared with does not matter.
    return None if float(theta) < 0 else theta.float() / scale_L.clamp_min(SMALL)


def _sparsity(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """k, where it is told, as this project's analyses look for it."""
    k = whole_number("k", tensors.get("k", config.get("k") or 0))
    return {"crosscoder": {"k": k}} if k else {}


def write(weights: Weights, folder: Path) -> None:
    """Write the layout; `k` is that of the provenance, else 0, unknown.

    Raises ArtifactError where the thresholds are not one value of f * sum_m ||d_m||, or where
    factors or thresholds are not known.
    """
    scale_M = weights.activation_scale
    if scale_M is None or weights.threshold is None:
        raise ArtifactError(
            "this crosscoder's factors or thresholds are not known, and the crosscoder_learning "
            "layout holds them: measure_scale(x_raw) and calibrate(x_raw) measure them on rows"
        )
    n_models, d_model, n_latents = weights.shape
    tensors = {
        "encoder.weight": weights.W_enc,
        "encoder.bias": weights.b_enc,
        "decoder.weight": weights.W_dec.permute(1, 0, 2),
        "decoder.bias": weights.b_dec,
        "code_normalization_id": torch.tensor(SUM_OF_NORMS),
        **_buffers(scale_M.detach().cpu(), d_model),
    }
    config: dict[str, Any] = {
        "activation_dim": d_model,
        "dict_size": n_latents,
        "num_layers": n_models,
        "code_normalization": "CROSSCODER",
        "dict_class": "BatchTopKCrossCoder" if weights.is_gated else "CrossCoder",
    }
    if weights.is_gated:
        config["k"] = (weights.provenance.get("crosscoder") or {}).get("k", 0)
        tensors["threshold"] = _one_threshold(weights, weights.threshold)
        tensors["k"] = torch.tensor(config["k"], dtype=torch.int32)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, tensors)
    write_json(folder / CONFIG, config)


def _buffers(scale_M: Tensor, d_model: int) -> dict[str, Tensor]:
    """A mean of 0 and the standard deviation [M, D] whose derived factor is ours."""
    std_M = 1.0 / (scale_M * d_model**0.5)
    shape = (len(scale_M), d_model)
    return {
        "activation_mean": torch.zeros(shape),
        "activation_std": std_M[:, None].expand(shape),
        "activation_global_scale": scale_M,
        "target_rms": torch.tensor(1.0),
    }


def _one_threshold(weights: Weights, threshold_L: Tensor) -> Tensor:
    norm_L = weights.W_dec.detach().norm(dim=-1).sum(-1)
    theta_L = (threshold_L * norm_L)[norm_L > 0]
    theta = theta_L.median()
    if not torch.allclose(theta_L, theta.expand_as(theta_L), rtol=1e-4):
        raise ArtifactError(
            f"thresholds on f * sum_m ||d_m|| range from {theta_L.min():.4g} to "
            f"{theta_L.max():.4g}, but the crosscoder_learning layout holds one: save this "
            f"{weights.kind} crosscoder in this project's layout instead"
        )
    return theta
