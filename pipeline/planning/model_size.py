"""Width, depth and parameter counts of a model, read from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.config.crosscoder import PretrainedConfig
from pipeline.config.models import (
    AdapterModel,
    HubModel,
    LocalModel,
    ModelName,
    ModelsConfig,
    NoModel,
    TrainedModel,
    TunedModel,
)
from pipeline.errors import ModelError
from pipeline.labels import MODELS
from pipeline.paths import located

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class ModelSize:
    """d_model in units of the residual stream, parameters as counts.

    n_block_parameters: of one block, on average; n_active_parameters: those of them that a token
    meets, fewer where it is sent to some of a block's experts
    """

    d_model: int
    n_layers: int
    n_block_parameters: int
    n_active_parameters: int
    n_embedding_parameters: int
    vocab_size: int

    @property
    def n_parameters(self) -> int:
        return self.n_layers * self.n_block_parameters + self.n_embedding_parameters

    def flops_per_token(self, n_layers: int) -> float:
        """Multiply-adds counted twice, forward pass of `n_layers` blocks (attention scores,
        a few percent at these sequence lengths, left out)."""
        return 2.0 * n_layers * self.n_active_parameters

    @property
    def head_flops_per_token(self) -> float:
        """The same of the unembedding."""
        return 2.0 * self.d_model * self.vocab_size


# Values of the models' own config.json, so that a plan needs no download.
KNOWN_CONFIGS: Mapping[str, dict[str, Any]] = {
    "google/gemma-2-2b": {
        "model_type": "gemma2",
        "hidden_size": 2304,
        "num_hidden_layers": 26,
        "intermediate_size": 9216,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 256000,
        "tie_word_embeddings": True,
    },
}
KNOWN_CONFIGS = {**KNOWN_CONFIGS, "google/gemma-2-2b-it": KNOWN_CONFIGS["google/gemma-2-2b"]}


def size_from_config(config: PreTrainedConfig) -> ModelSize:
    """Size of the model of a configuration, counted on the model itself without its weights.

    Raises ModelError where the architecture has no single stack of blocks.
    """
    key = config.to_json_string()
    if key not in _COUNTED:
        _COUNTED[key] = _count(config)
    return _COUNTED[key]


_COUNTED: dict[str, ModelSize] = {}
"""Sizes by configuration: every estimate asks anew, and a model takes a second to build."""


def _count(config: PreTrainedConfig) -> ModelSize:
    from pipeline.models.configuration import shape_of
    from pipeline.models.hook import blocks
    from pipeline.models.skeleton import skeleton

    shape, model = shape_of(config, config.model_type), skeleton(config)
    stack = blocks(model)
    in_blocks = sum(parameter.numel() for parameter in stack.parameters())
    idle = sum(_idle_parameters(block, config.get_text_config()) for block in stack)
    return ModelSize(
        d_model=shape.d_model,
        n_layers=shape.n_layers,
        n_block_parameters=in_blocks // len(stack),
        n_active_parameters=round((in_blocks - idle) / len(stack)),
        n_embedding_parameters=sum(p.numel() for p in model.parameters()) - in_blocks,
        vocab_size=shape.vocab_size,
    )


def _idle_parameters(block: nn.Module, config: Any) -> float:
    """Parameters of the experts of a block that a token is not sent to."""
    n_chosen = getattr(config, "num_experts_per_tok", None)
    idle = 0.0
    for name, module in block.named_modules():
        if n_chosen and name.split(".")[-1] == "experts":
            parameters = list(module.parameters())
            # Experts lie in tensors [expert, ...], or are a list of modules.
            modules = isinstance(module, Sized)
            n_experts = len(module) if modules else parameters[0].shape[0]
            share = max(0.0, 1 - n_chosen / n_experts)
            idle += share * sum(parameter.numel() for parameter in parameters)
    return idle


def size_of(models: ModelsConfig, name: str) -> ModelSize | None:
    """Size of the model called `name`; None where nothing on this machine tells it, or where there
    is no model."""
    try:
        config = configuration_in(models, name)
        return size_from_config(config) if config else None
    except ModelError:
        return None


def configuration_in(models: ModelsConfig, name: str) -> PreTrainedConfig | None:
    """What transformers is told of the model called `name`; None as in `size_of`."""
    spec: Any = getattr(models, name)
    if isinstance(spec, AdapterModel) and not isinstance(spec.of, str):
        spec = spec.of
    if isinstance(spec, NoModel | TrainedModel | LocalModel | HubModel):
        return configuration_of_spec(spec)
    return configuration_in(models, str(spec.of))


def configuration_of_spec(
    spec: NoModel | TrainedModel | LocalModel | HubModel,
) -> PreTrainedConfig | None:
    """The same of a model that is made from no other."""
    from transformers import AutoConfig

    from pipeline.models.architecture import configuration_of
    from pipeline.models.configuration import quiet, read_configuration

    if isinstance(spec, NoModel):
        return None
    if isinstance(spec, TrainedModel):
        return configuration_of(spec)
    folder = folder_of(spec)
    with quiet():
        if folder is not None:
            return read_configuration(folder)
        known = KNOWN_CONFIGS.get(spec.repo) if isinstance(spec, HubModel) else None
        return AutoConfig.for_model(**known) if known else None


def trained_models(config: Config) -> list[tuple[ModelName, TrainedModel | TunedModel]]:
    """The models that the stage `models` trains or tunes, by name."""
    specs: list[tuple[ModelName, Any]] = [("base", config.models.base), ("it", config.models.it)]
    return [(name, spec) for name, spec in specs if isinstance(spec, TrainedModel | TunedModel)]


def folder_of(spec: LocalModel | HubModel) -> Path | None:
    """Where the model's files lie on this machine; None where it has not been downloaded."""
    if isinstance(spec, LocalModel):
        folder = located(spec.path)
        return folder if folder.exists() else None
    cached = cached_hub_file(spec, "config.json")
    return cached.parent if cached else None


def sizes_of(config: Config) -> list[ModelSize] | None:
    """Sizes of both models; None where one is unknown. Rows that come from no model have a width
    and cost no pass of any block."""
    plant = config.plant
    if plant is not None and plant.background.kind == "synthetic":
        return [ModelSize(plant.background.d_model, 0, 0, 0, 0, 0)] * len(MODELS)
    sizes = [size_of(config.models, name) for name in MODELS]
    known = [size for size in sizes if size is not None]
    return known if len(known) == len(sizes) else None


def cached_hub_file(spec: HubModel | PretrainedConfig, file: str) -> Path | None:
    """The file in the local hub cache, or None where it has not been downloaded."""
    from huggingface_hub import try_to_load_from_cache

    assert spec.repo is not None, "a crosscoder with a path is not on the Hub"
    found = try_to_load_from_cache(spec.repo, file, revision=spec.revision)
    return Path(found) if isinstance(found, str) else None
