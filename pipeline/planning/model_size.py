"""Width, depth and parameter count of a model, read from its configuration alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.config.crosscoder import PretrainedConfig
from pipeline.config.models import HubModel, LocalModel, ModelsConfig, NoModel, TrainedModel
from pipeline.labels import MODELS


@dataclass(frozen=True)
class ModelSize:
    """d_model in units of the residual stream, parameters as counts."""

    d_model: int
    n_layers: int
    n_block_parameters: int  # of one block
    n_embedding_parameters: int
    vocab_size: int

    @property
    def n_parameters(self) -> int:
        return self.n_layers * self.n_block_parameters + self.n_embedding_parameters

    def flops_per_token(self, n_layers: int, *, logits: bool = False) -> float:
        """Multiply-adds counted twice, forward pass of `n_layers` blocks (attention scores,
        a few percent at these sequence lengths, left out)."""
        unembedding = self.d_model * self.vocab_size if logits else 0
        return 2.0 * (n_layers * self.n_block_parameters + unembedding)


# Values of the models' own config.json, so that a plan needs no download.
KNOWN_CONFIGS: Mapping[str, dict[str, Any]] = {
    "google/gemma-2-2b": {
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


def size_from_config(config: Mapping[str, Any]) -> ModelSize:
    """Size of a gated-MLP transformer (Gemma, Llama, Mistral, Qwen) from its config.json."""
    d_model, n_heads = config["hidden_size"], config["num_attention_heads"]
    d_head = config.get("head_dim") or d_model // n_heads
    n_key_value_heads = config.get("num_key_value_heads") or n_heads
    attention = 2 * d_model * d_head * (n_heads + n_key_value_heads)
    matrices = 1 if config.get("tie_word_embeddings", False) else 2
    return ModelSize(
        d_model=d_model,
        n_layers=config["num_hidden_layers"],
        n_block_parameters=attention + 3 * d_model * config["intermediate_size"],
        n_embedding_parameters=matrices * d_model * config["vocab_size"],
        vocab_size=config["vocab_size"],
    )


def size_of(models: ModelsConfig, name: str) -> ModelSize | None:
    """Size of the model called `name`; None where nothing on this machine tells it, or where there
    is no model."""
    spec = getattr(models, name)
    if isinstance(spec, NoModel):
        return None
    if isinstance(spec, TrainedModel):
        return size_from_config(
            {
                "hidden_size": spec.d_model,
                "num_hidden_layers": spec.n_layers,
                "intermediate_size": spec.d_mlp,
                "num_attention_heads": spec.n_heads,
                "num_key_value_heads": spec.n_key_value_heads,
                "head_dim": spec.d_head,
                "vocab_size": spec.vocab_size,
                "tie_word_embeddings": True,
            }
        )
    if isinstance(spec, LocalModel):
        file = Path(spec.path) / "config.json"
        return size_from_config(json.loads(file.read_text())) if file.is_file() else None
    if isinstance(spec, HubModel):
        cached = cached_hub_file(spec, "config.json")
        if cached:
            return size_from_config(json.loads(cached.read_text()))
        return size_from_config(KNOWN_CONFIGS[spec.repo]) if spec.repo in KNOWN_CONFIGS else None
    return size_of(models, spec.of)


def sizes_of(config: Config) -> list[ModelSize] | None:
    """Sizes of both models; None where one is unknown. Rows that come from no model have a width
    and cost no pass of any block."""
    plant = config.plant
    if plant is not None and plant.background.kind == "synthetic":
        return [ModelSize(plant.background.d_model, 0, 0, 0, 0)] * len(MODELS)
    sizes = [size_of(config.models, name) for name in MODELS]
    known = [size for size in sizes if size is not None]
    return known if len(known) == len(sizes) else None


def cached_hub_file(spec: HubModel | PretrainedConfig, file: str) -> Path | None:
    """The file in the local hub cache, or None where it has not been downloaded."""
    from huggingface_hub import try_to_load_from_cache

    assert spec.repo is not None, "a crosscoder with a path is not on the Hub"
    found = try_to_load_from_cache(spec.repo, file, revision=spec.revision)
    return Path(found) if isinstance(found, str) else None
