"""This project's layout of a crosscoder: `config.json` and `weights.safetensors` in one folder.

`config.json` says what the crosscoder is and what made it; the other file holds W_enc [M, D, L],
W_dec [L, M, D], b_enc [L], b_dec [M, D], activation_scale [M] and threshold [L].
"""

from pathlib import Path
from typing import Any

from pipeline.artifacts import write_json
from pipeline.crosscoder.layouts.source import Source, check_held, check_told, read_json, take
from pipeline.crosscoder.tensor_files import write_tensors
from pipeline.crosscoder.weights import Outline, Weights, shape_by
from pipeline.errors import ArtifactError, MissingArtifactError

FORMAT = "crosscoder-pipeline"
FORMAT_VERSION = 1
CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
TENSORS = ("W_enc", "W_dec", "b_enc", "b_dec", "activation_scale", "threshold")


def write(weights: Weights, folder: Path) -> None:
    """Write the weights to `folder`, `config.json` last.

    Raises ArtifactError where factors or thresholds are not known: the layout holds both.
    """
    for name in ("activation_scale", "threshold"):
        if getattr(weights, name) is None:
            raise ArtifactError(
                f"this crosscoder's {name} is not known, and this project's layout holds one: "
                f"{'measure_scale(x_raw)' if name == 'activation_scale' else 'calibrate(x_raw)'} "
                "measures it on rows"
            )
    n_models, d_model, n_latents = weights.shape
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, weights.tensors())
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": weights.kind,
        "n_models": n_models,
        "d_model": d_model,
        "n_latents": n_latents,
        "provenance": dict(weights.provenance),
    }
    write_json(folder / CONFIG, config)


def outline(source: Source) -> Outline:
    """What the folder of `source` tells without its weights."""
    told_by, config = source.path.parent / CONFIG, read_config(source.path.parent)
    if config.get("format") != FORMAT or config.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(
            f"{told_by} is of format {config.get('format')!r} version "
            f"{config.get('format_version')!r}, this version reads {FORMAT!r} version "
            f"{FORMAT_VERSION}: run `dvc repro train`"
        )
    provenance = config.get("provenance", {})
    if not isinstance(provenance, dict):
        raise ArtifactError(
            f"{told_by} has a provenance that is {provenance!r:.60}, expected an object: write "
            "{} where nothing is known"
        )
    check_held(source.headers, *TENSORS)
    shape = shape_by("W_dec", source.headers["W_dec"].shape)
    told = {name: config.get(name) for name in ("n_models", "d_model", "n_latents")}
    check_told(told, shape, told_by)
    return Outline(shape, provenance)


def read(source: Source) -> Weights:
    """The weights in the folder of `source`."""
    told = outline(source)
    W_enc, W_dec, b_enc, b_dec, activation_scale, threshold = take(source.tensors, *TENSORS)
    return Weights(
        kind=read_config(source.path.parent).get("kind", "not told"),
        W_enc=W_enc,
        W_dec=W_dec,
        b_enc=b_enc,
        b_dec=b_dec,
        activation_scale=activation_scale,
        threshold=threshold,
        provenance=told.provenance,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed `config.json` of a crosscoder's folder."""
    path = folder / CONFIG
    if not path.exists():
        raise MissingArtifactError(f"{path} not found: run `dvc repro train`")
    return read_json(path)
