"""Sizes of a pair's models and of a finished crosscoder, without their weights."""

from pathlib import Path

from pipeline.config import Config
from pipeline.config.crosscoder import CrosscoderConfig, PretrainedConfig
from pipeline.crosscoder.layouts.source import find
from pipeline.errors import MissingArtifactError, ModelError
from pipeline.hub_cache import in_hub_cache
from pipeline.labels import MODELS
from pipeline.models.here import configuration_of
from pipeline.models.size import ModelSize, size_from
from pipeline.paths import located


def sizes_of(config: Config) -> list[ModelSize] | None:
    """Sizes of both models; None where one is unknown. Rows that come from no model have a width
    and cost no pass of any block."""
    if config.plant is not None and config.plant.background.kind == "synthetic":
        return [ModelSize(config.plant.background.d_model, 0, 0, 0, 0, 0)] * len(MODELS)
    try:
        found = [configuration_of(config.models, name) for name in MODELS]
        return [size_from(each) for each in found if each is not None] if all(found) else None
    except ModelError:
        return None


def n_latents_of(crosscoder: CrosscoderConfig) -> int:
    """Latents of the crosscoder; 0 where nothing on this machine tells a finished one's size."""
    if crosscoder.n_latents is not None:
        return crosscoder.n_latents
    assert crosscoder.kind == "pretrained", "only a finished crosscoder may leave its size open"
    try:
        told = find(place_of(crosscoder) or Path("nowhere")).config
    except MissingArtifactError:
        return 0
    return int(told.get("n_latents") or told.get("dict_size") or 0)


def place_of(crosscoder: PretrainedConfig) -> Path | None:
    """Where a finished crosscoder lies, or should lie; None where it has not been downloaded."""
    path, repo = crosscoder.path, str(crosscoder.repo)
    root = located(path) if path else in_hub_cache(repo, crosscoder.revision)
    return root / (crosscoder.subfolder or "") if root else None
