"""The pair of models as the analyses see it: read and patched at the hook point."""

from functools import partial
from pathlib import Path

import torch

from pipeline.analysis.splicing import HookedModel
from pipeline.config.models import HookPointConfig, ModelName
from pipeline.models.hook import logits_with, residual
from pipeline.models.load import load_model


def hooked_pair(
    models_dir: Path, hook_point: HookPointConfig, device: torch.device
) -> tuple[HookedModel, HookedModel]:
    """The base and the IT model in `models_dir`."""
    return (
        hooked_model(models_dir, "base", hook_point, device),
        hooked_model(models_dir, "it", hook_point, device),
    )


def hooked_model(
    models_dir: Path, name: ModelName, hook_point: HookPointConfig, device: torch.device
) -> HookedModel:
    """One of the two, whole, at the layer, type and attention of `hook_point`."""
    model = load_model(
        models_dir,
        name,
        dtype=hook_point.dtype,
        attention=hook_point.attention,
        device=device,
    )
    return HookedModel(
        residual=partial(residual, model, hook_point.layer),
        logits_with=partial(logits_with, model, hook_point.layer),
    )
