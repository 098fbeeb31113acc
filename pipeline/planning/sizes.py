"""Sizes of models and of a finished crosscoder, without their weights."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.config.crosscoder import CrosscoderConfig, PretrainedConfig
from pipeline.config.models import (
    HubModel,
    LocalModel,
    ModelsConfig,
    NoModel,
    TrainedModel,
    TunedModel,
)
from pipeline.crosscoder.layouts.source import NAMES, find
from pipeline.errors import MissingArtifactError, ModelError
from pipeline.labels import MODELS
from pipeline.paths import located

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

GEMMA_2_2B: dict[str, Any] = {
    "model_type": "gemma2",
    "hidden_size": 2304,
    "num_hidden_layers": 26,
    "intermediate_size": 9216,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 256000,
    "tie_word_embeddings": True,
}
KNOWN = {"google/gemma-2-2b": GEMMA_2_2B, "google/gemma-2-2b-it": GEMMA_2_2B}
"""Of the models' own config.json, so that the plan of the published run needs no download."""


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

    def operations(self, n_layers: int, n_heads: int = 0) -> float:
        """Per token of a forward pass of so many blocks and unembeddings; a multiply-add is two.
        Attention scores, a few percent at these sequence lengths, are left out."""
        per_head = self.d_model * self.vocab_size
        return 2.0 * (n_layers * self.n_active_parameters + n_heads * per_head)


_COUNTED: dict[str, ModelSize] = {}
"""By configuration: every estimate asks anew, and a model takes a second to build."""


def size_from(config: PreTrainedConfig) -> ModelSize:
    """Counted on the model itself without its weights. ModelError where the architecture has no
    single stack of blocks."""
    from pipeline.models.configuration import shape_of
    from pipeline.models.hook import blocks
    from pipeline.models.skeleton import skeleton

    key = config.to_json_string()
    if key not in _COUNTED:
        shape, model = shape_of(config, config.model_type), skeleton(config)
        stack = blocks(model)
        in_blocks = sum(parameter.numel() for parameter in stack.parameters())
        idle = _idle_parameters(stack, config.get_text_config())
        _COUNTED[key] = ModelSize(
            d_model=shape.d_model,
            n_layers=shape.n_layers,
            n_block_parameters=in_blocks // len(stack),
            n_active_parameters=round((in_blocks - idle) / len(stack)),
            n_embedding_parameters=sum(p.numel() for p in model.parameters()) - in_blocks,
            vocab_size=shape.vocab_size,
        )
    return _COUNTED[key]


def _idle_parameters(stack: nn.Module, config: Any) -> float:
    """Parameters of the experts that a token is not sent to."""
    n_chosen, idle = getattr(config, "num_experts_per_tok", None), 0.0
    for name, module in stack.named_modules():
        if n_chosen and name.split(".")[-1] == "experts":
            parameters = list(module.parameters())
            # Experts are a list of modules, or lie in tensors [expert, ...].
            n_experts = len(module) if isinstance(module, Sized) else parameters[0].shape[0]
            idle += max(0.0, 1 - n_chosen / n_experts) * sum(p.numel() for p in parameters)
    return idle


def configuration_of(models: ModelsConfig, spec: Any) -> PreTrainedConfig | None:
    """What transformers is told of a model, given by its name in the pair or as it is configured;
    None where nothing on this machine tells it, or where there is no model."""
    from transformers import AutoConfig

    from pipeline.models import architecture
    from pipeline.models.configuration import quiet, read_configuration

    match spec:
        case str():
            return configuration_of(models, getattr(models, spec))
        case NoModel():
            return None
        case TrainedModel():
            return architecture.configuration_of(spec)
        case LocalModel() | HubModel():
            folder = folder_of(spec)
            with quiet():
                if folder is not None:
                    return read_configuration(folder)
                known = KNOWN.get(spec.repo) if isinstance(spec, HubModel) else None
                return AutoConfig.for_model(**known) if known else None
        case _:  # tuned, edited, or an adapter: as large as the model that it is made from
            return configuration_of(models, spec.of)


def folder_of(spec: LocalModel | HubModel) -> Path | None:
    """Where the model's files lie on this machine; None where it has not been downloaded."""
    if isinstance(spec, LocalModel):
        folder = located(spec.path)
        return folder if folder.exists() else None
    cached = cached_hub_file(spec, "config.json")
    return cached.parent if cached else None


def cached_hub_file(spec: HubModel | PretrainedConfig, file: str) -> Path | None:
    """The file in the local hub cache, or None where it has not been downloaded."""
    from huggingface_hub import try_to_load_from_cache

    assert spec.repo is not None, "a crosscoder with a path is not on the Hub"
    found = try_to_load_from_cache(spec.repo, file, revision=spec.revision)
    return Path(found) if isinstance(found, str) else None


def sizes_of(config: Config) -> list[ModelSize] | None:
    """Sizes of both models; None where one is unknown. Rows that come from no model have a width
    and cost no pass of any block."""
    if config.plant is not None and config.plant.background.kind == "synthetic":
        return [ModelSize(config.plant.background.d_model, 0, 0, 0, 0, 0)] * len(MODELS)
    try:
        found = [configuration_of(config.models, name) for name in MODELS]
        sizes = [size_from(each) for each in found if each is not None]
    except ModelError:
        return None
    return sizes if len(sizes) == len(MODELS) else None


def trained_models(config: Config) -> dict[str, TrainedModel | TunedModel]:
    """The models that the stage `models` trains or tunes, by name."""
    specs = {name: getattr(config.models, name) for name in MODELS}
    return {n: spec for n, spec in specs.items() if isinstance(spec, TrainedModel | TunedModel)}


def finished(crosscoder: PretrainedConfig) -> Path | None:
    """Where a finished crosscoder lies, or should lie, on this machine; None where it has not been
    downloaded."""
    subfolder = Path(crosscoder.subfolder or "")
    if crosscoder.path is not None:
        return located(crosscoder.path) / subfolder
    found = (cached_hub_file(crosscoder, str(subfolder / name)) for name in NAMES)
    return next((file.parent for file in found if file), None)


def n_latents_of(crosscoder: CrosscoderConfig) -> int:
    """Latents of the crosscoder; 0 where nothing on this machine tells a finished one's size."""
    if crosscoder.n_latents is not None:
        return crosscoder.n_latents
    assert crosscoder.kind == "pretrained", "only a finished crosscoder may leave its size open"
    try:
        told = find(finished(crosscoder) or Path("nowhere")).config
    except MissingArtifactError:
        return 0
    return int(told.get("n_latents") or told.get("dict_size") or 0)
