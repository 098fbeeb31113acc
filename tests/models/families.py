"""Small random models of many families, as folders: what a user may bring."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

N_LAYERS = 4
VOCAB_SIZE = 300
SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
ASKED: dict[str, dict[str, Any]] = {
    "gemma2": {"query_pre_attn_scalar": 8, "sliding_window": 6},
    "gemma3_text": {"query_pre_attn_scalar": 8, "sliding_window": 6},
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": 6},
    "phi3": {},
    "olmo2": {},
    "gpt_neox": {},
    "gpt2": {"n_inner": 24},
    "mixtral": EXPERTS,
    "qwen2_moe": EXPERTS | {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8},
}
"""The families that docs/models.md promises, and what each needs beside the shape."""
TUPLES: dict[str, dict[str, Any]] = {
    "bloom": {},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 1, "head_dim": None},
    "mpt": {},
    "falcon_h1": {"mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 4},
}
"""Families whose blocks return tuples."""
ODD: dict[str, dict[str, Any]] = {
    "opt": {"word_embed_proj_dim": 16, "ffn_dim": 24},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_experts": 2,
        "mamba_dt_rank": 4,
    },
}
"""Families that name their shape otherwise, or whose blocks differ by a list of their own."""
UNCUT: dict[str, dict[str, Any]] = {
    "gemma4_text": {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCAB_SIZE},
}
"""Families whose weights outside the blocks depend on the number of blocks."""
FAMILIES = ASKED | TUPLES | ODD | UNCUT


def random_family(family: str, **changes: Any) -> PreTrainedModel:
    """A model of four blocks with random weights, none of which is 0 or 1."""
    fields = SHAPE | FAMILIES[family] | changes
    config = AutoConfig.for_model(family, **{k: v for k, v in fields.items() if v is not None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for parameter in model.parameters():
            parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return model.requires_grad_(False)


def family_folder(folder: Path, family: str, **changes: Any) -> Path:
    """A folder of such a model, without a tokenizer."""
    random_family(family, **changes).save_pretrained(folder)
    return folder
