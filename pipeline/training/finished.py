"""A finished crosscoder before it is used: where it lies, what it is, whether it fits the pair."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config
from pipeline.config.crosscoder import CrosscoderConfig, PretrainedConfig
from pipeline.crosscoder.layouts import outline
from pipeline.crosscoder.layouts.source import find
from pipeline.errors import ArtifactError, MissingArtifactError, ModelError
from pipeline.hub_cache import in_hub_cache
from pipeline.models.configuration import shape_of
from pipeline.models.here import configuration_of
from pipeline.paths import located
from pipeline.training.pretrained import check_fits


def place_of(crosscoder: PretrainedConfig) -> Path | None:
    """Where a finished crosscoder lies, or should lie; None where it is yet to be downloaded."""
    if crosscoder.path is not None:
        return located(crosscoder.path) / (crosscoder.subfolder or "")
    root = in_hub_cache(str(crosscoder.repo), crosscoder.revision)
    try:
        return find(root / (crosscoder.subfolder or "")).path.parent if root else None
    except MissingArtifactError:  # other folders of the repository may be here
        return None


def n_latents_of(crosscoder: CrosscoderConfig) -> int:
    """Latents of the crosscoder; 0 where nothing on this machine tells a finished one's size."""
    if crosscoder.n_latents is not None:
        return crosscoder.n_latents
    assert crosscoder.kind == "pretrained", "only a finished crosscoder may leave its size open"
    place = place_of(crosscoder)
    try:
        return outline(place).shape[2] if place else 0
    except ArtifactError:
        return 0


def check_finished(config: Config) -> None:
    """Raise ArtifactError, led by its key, where the finished crosscoder that the configuration
    names is not there, or is none of this pair and layer, as far as files on this machine tell.
    No weight is read. One that is yet to be downloaded passes."""
    spec = config.crosscoder
    if spec.kind != "pretrained" or (place := place_of(spec)) is None:
        return
    try:
        check_fits(spec, place, config.model_dump(mode="json"), _width(config))
    except ArtifactError as error:
        if str(error).startswith("crosscoder."):
            raise
        raise type(error)(f"crosscoder.{'path' if spec.path else 'repo'}: {error}") from error


def _width(config: Config) -> int | None:
    """d_model of the rows; None where nothing on this machine tells it."""
    if config.plant is not None and config.plant.background.kind == "synthetic":
        return config.plant.background.d_model
    try:
        base = configuration_of(config.models, "base")
        return shape_of(base, "models.base").d_model if base else None
    except ModelError:  # which the stage `models` tells
        return None
