"""A finished crosscoder in place of a trained one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts import write_bytes
from pipeline.config.crosscoder import PretrainedConfig
from pipeline.crosscoder.files import load, save
from pipeline.crosscoder.hub import fetch
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.public_formats import REFERENCE_WEIGHTS
from pipeline.errors import MismatchError
from pipeline.training.statistics import measure_normalisation
from pipeline.training.stream import Stream
from pipeline.training.training import CURVE


def import_crosscoder(
    config: PretrainedConfig, stream: Stream, folder: Path, *, provenance: Mapping[str, Any]
) -> None:
    """Write the named crosscoder to `folder` in this project's layout.

    The factors are those of the configuration, else those of the file, else (the reference layout
    has none) those measured on `stream`. Raises MismatchError where its width is not the store's
    or its number of latents not the configuration's.
    """
    origin = _origin(config)
    crosscoder = load(origin)
    found = (crosscoder.n_models, crosscoder.d_model)
    expected = tuple(next(stream.batches()).x_raw.shape[1:])
    if found != expected:
        raise MismatchError(
            f"{origin} is a crosscoder of (n_models, d_model) {found}, but the activations have "
            f"{expected}: set crosscoder.path or crosscoder.repo to one trained on this site"
        )
    if config.n_latents not in (None, crosscoder.n_latents):
        raise MismatchError(
            f"crosscoder.n_latents is {config.n_latents}, but {origin} has {crosscoder.n_latents} "
            "latents: set crosscoder.n_latents to that, or to null to take what the weights have"
        )
    crosscoder.activation_scale_M.copy_(_scale(config, crosscoder, origin, stream))
    write_bytes(folder / CURVE, b"step,n_rows\n")
    nothing = {"n_rows": 0, "n_steps": 0, "last": {}}
    save(crosscoder, folder, provenance={**provenance, "training": nothing})


def _origin(config: PretrainedConfig) -> Path:
    if config.path is not None:
        return Path(config.path) / (config.subfolder or "")
    assert config.repo is not None, "the schema asks for one of path and repo"
    return fetch(config.repo, revision=config.revision, subfolder=config.subfolder)


def _scale(
    config: PretrainedConfig, crosscoder: Crosscoder, origin: Path, stream: Stream
) -> Tensor:
    if config.activation_scale is not None:
        if len(config.activation_scale) != crosscoder.n_models:
            raise MismatchError(
                f"crosscoder.activation_scale has {len(config.activation_scale)} factors, expected "
                f"{crosscoder.n_models}, one per model: correct it, or set it to null"
            )
        return torch.tensor(config.activation_scale)
    is_unit = bool((crosscoder.activation_scale == 1).all())
    if is_unit and (origin / REFERENCE_WEIGHTS).exists():
        return measure_normalisation(stream).scale_M
    return crosscoder.activation_scale
