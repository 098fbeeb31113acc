"""Sizes of a pair's models, without their weights."""

from pipeline.config import Config
from pipeline.errors import ModelError
from pipeline.labels import MODELS
from pipeline.models.here import configuration_of
from pipeline.models.size import ModelSize, size_from


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
