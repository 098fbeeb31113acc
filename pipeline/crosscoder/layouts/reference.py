"""The layout of ckkissane/crosscoder-model-diff-replication, the reference.

W_enc [M, D, L], W_dec [L, M, D], b_enc [L], b_dec [M, D] in a state dict: `cc_weights.pt` with
`cfg.json` on the Hub, `N.pt` with `N_cfg.json` as its trainer saves them.

The weights work on normalised activations, and the reference stores no factors: who reads such a
file has to be given them or to measure them. What is written here says so in `cfg.json`, under
two keys of this project: `activation_scale` (a factor per model) and `input` (what to feed).
Weights that were folded before (`Crosscoder.folded`) take raw activations: their factors are 1.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts import clear_space_errors, write_json
from pipeline.crosscoder.layouts.source import Source, check_held, check_told, take
from pipeline.crosscoder.weights import Outline, Weights, shape_by
from pipeline.errors import ArtifactError

CONFIG, WEIGHTS = "cfg.json", "cc_weights.pt"
TENSORS = ("W_enc", "W_dec", "b_enc", "b_dec")
SCALED = "raw activations of model m, multiplied by activation_scale[m]"
RAW = "raw activations: the factors are folded into the weights"
UNKNOWN = "normalised activations; the factors are not known"


def write(weights: Weights, folder: Path) -> None:
    """Write the layout, with every key of `cfg.json` that the reference's own reader asks for.

    It has no place for thresholds: they are refused (ArtifactError).
    """
    if weights.is_gated:
        raise ArtifactError(
            f"the reference layout holds no thresholds, which a {weights.kind} crosscoder "
            "needs: save it in this project's layout instead"
        )
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: getattr(weights, name).detach().cpu().float().contiguous() for name in TENSORS}
    with clear_space_errors(folder):
        torch.save(plain, folder / WEIGHTS)
    n_models, d_model, n_latents = weights.shape
    config: dict[str, Any] = {
        "dict_size": n_latents,
        "d_in": d_model,
        "n_models": n_models,
        "enc_dtype": "fp32",
        "dec_init_norm": 0.08,  # of weights that its reader draws and then overwrites
        "seed": 49,
        "device": "cpu",
        "input": _input(weights.activation_scale),
    }
    if weights.activation_scale is not None:
        config["activation_scale"] = weights.activation_scale.tolist()
    write_json(folder / CONFIG, config)


def _input(scale_M: Tensor | None) -> str:
    if scale_M is None:
        return UNKNOWN
    return RAW if bool((scale_M == 1).all()) else SCALED


def outline(source: Source) -> Outline:
    """What the files tell without the weights."""
    check_held(source.headers, *TENSORS)
    shape = shape_by("W_dec", source.headers["W_dec"].shape)
    told = {
        "n_models": source.config.get("n_models"),
        "d_model": source.config.get("d_in"),
        "n_latents": source.config.get("dict_size"),
    }
    check_told(told, shape, source.told_by)
    return Outline(shape, _provenance(source.config))


def read(source: Source) -> Weights:
    """The weights, with factors where `cfg.json` has them: `[1, 1]` is an answer, none is not."""
    told = outline(source)
    W_enc, W_dec, b_enc, b_dec = (tensor.float() for tensor in take(source.tensors, *TENSORS))
    others = sorted(source.tensors.keys() - set(TENSORS))
    if others:
        raise ArtifactError(
            f"it also holds {', '.join(others)}, which this layout does not have (a threshold or a "
            "factor that is left out gives other latents): save it in this project's layout, or "
            f"with {', '.join(TENSORS)} alone if they mean nothing"
        )
    return Weights(
        kind="l1",
        W_enc=W_enc,
        W_dec=W_dec,
        b_enc=b_enc,
        b_dec=b_dec,
        activation_scale=_scale(source.config.get("activation_scale"), source),
        threshold=torch.zeros_like(b_enc),
        provenance=told.provenance,
    )


def _scale(told: Any, source: Source) -> Tensor | None:
    if told is None:
        return None
    try:
        return torch.tensor(told, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"{source.told_by} says that activation_scale is {told!r}, expected a list of numbers, "
            "one per model: correct it, or leave it out and have it measured"
        ) from error


def _provenance(config: Any) -> dict[str, Any]:
    """Its own settings, and the hook point in this project's counting: the input of block N is
    `hidden_states[N]`."""
    if not config:
        return {}
    found = re.fullmatch(r"blocks\.(\d+)\.hook_resid_pre", str(config.get("hook_point")))
    layer = {"hook_point": {"layer": int(found[1])}} if found else {}
    return {"cfg": dict(config), **layer}
