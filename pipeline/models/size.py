"""What a model weighs and what a pass of it costs, counted without its weights."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.errors import ModelError
from pipeline.labels import MODELS
from pipeline.models.configuration import shape_of
from pipeline.models.here import configuration_of
from pipeline.models.hook import blocks
from pipeline.models.skeleton import skeleton

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class ModelSize:
    """n_block_parameters: of one block, on average; n_active_parameters: those of them that a token
    meets, fewer where it is sent to some of a block's experts"""

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
    key = config.to_json_string()
    if key not in _COUNTED:
        shape, model = shape_of(config, config.model_type), skeleton(config)
        stack = blocks(model)
        in_blocks = sum(parameter.numel() for parameter in stack.parameters())
        idle = _idle_parameters(stack, getattr(config.get_text_config(), "num_experts_per_tok", 0))
        _COUNTED[key] = ModelSize(
            d_model=shape.d_model,
            n_layers=shape.n_layers,
            n_block_parameters=in_blocks // len(stack),
            n_active_parameters=round((in_blocks - idle) / len(stack)),
            n_embedding_parameters=sum(p.numel() for p in model.parameters()) - in_blocks,
            vocab_size=shape.vocab_size,
        )
    return _COUNTED[key]


def _idle_parameters(stack: nn.Module, n_chosen: int | None) -> float:
    """Parameters of the experts that a token is not sent to. n_chosen: experts of a token"""
    idle = 0.0
    for name, module in stack.named_modules():
        if n_chosen and name.split(".")[-1] == "experts":
            parameters = list(module.parameters())
            # Experts are a list of modules, or lie in tensors [expert, ...].
            n_experts = len(module) if isinstance(module, Sized) else parameters[0].shape[0]
            idle += max(0.0, 1 - n_chosen / n_experts) * sum(p.numel() for p in parameters)
    return idle


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
