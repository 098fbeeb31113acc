"""A model with random weights, from the configuration of one that is trained here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pipeline.config.models import TrainedModel
from pipeline.runtime import stream_seed

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

MAX_POSITIONS = 8192


def random_model(spec: TrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """The model of `spec` in float32 with random weights, decided by `spec.seed` alone."""
    from transformers import AutoModelForCausalLM

    config = configuration_of(
        spec,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(spec.seed, "models", "weights"))
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def configuration_of(spec: TrainedModel, **token_ids: Any) -> PreTrainedConfig:
    """The configuration of transformers that `spec` stands for, with the roles of its tokens."""
    from transformers import AutoConfig

    shape: dict[str, Any] = {
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.d_model,
        "intermediate_size": spec.d_mlp,
        "num_hidden_layers": spec.n_layers,
        "num_attention_heads": spec.n_heads,
        "num_key_value_heads": spec.n_key_value_heads,
        "head_dim": spec.d_head,
        "max_position_embeddings": MAX_POSITIONS,
        "tie_word_embeddings": True,
    }
    if spec.architecture == "gemma2":
        shape["query_pre_attn_scalar"] = spec.d_head
    return AutoConfig.for_model(spec.architecture, **shape, **token_ids)
