"""Small models, tokenizers and sources that the tests of models share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from pipeline.config.models import ModelsConfig, TrainedModel
from pipeline.config.text import GeneratedSourceConfig, SourceConfig
from pipeline.models.architecture import random_model
from pipeline.models.materialise import save_model
from pipeline.text.tokens import train_tokenizer

TRAINING: dict[str, Any] = {
    "n_steps": 6,
    "batch_sequences": 4,
    "micro_batch_sequences": 2,
    "sequence_length_tokens": 32,
    "learning_rate": 1e-2,
    "warmup_fraction": 0.2,
    "weight_decay": 0.1,
    "gradient_clip": 1.0,
    "precision": "bf16",
    "checkpoint_every_steps": 2,
    "seed": 7,
}
TRAINED: dict[str, Any] = TRAINING | {
    "kind": "trained",
    "architecture": "gemma2",
    "vocab_size": 300,
    "d_model": 16,
    "d_mlp": 24,
    "d_head": 8,
    "n_layers": 3,
    "n_heads": 2,
    "n_key_value_heads": 1,
    "tokenizer": {"sources": ["pile", "chat"], "n_documents": 20},
    "sources": {"pile": 1.0},
}
TUNED: dict[str, Any] = TRAINING | {
    "kind": "tuned",
    "of": "base",
    "lora": None,
    "sources": {"chat": 1.0},
}
HELDOUT: dict[str, Any] = {
    "sources": ["pile", "chat"],
    "more_sources": [],
    "n_sequences": 4,
    "sequence_length_tokens": 32,
    "fraction": 0.2,
    "seed": 1,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small lose time on more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["User: hello there\nAssistant: hello\n", "a stone by the river"], 280)


@pytest.fixture(scope="session")
def sources() -> dict[str, SourceConfig]:
    return {
        "pile": GeneratedSourceConfig(
            kind="generated", generator="documents", n_documents=200, seed=0, kinds=None
        ),
        "chat": GeneratedSourceConfig(
            kind="generated", generator="chats", n_documents=200, seed=1, kinds=None
        ),
    }


@pytest.fixture(scope="session")
def models_config() -> Callable[..., ModelsConfig]:
    """A trained base and a tuned IT model, or what is given instead."""

    def make(base: dict[str, Any] | None = None, it: dict[str, Any] | None = None) -> ModelsConfig:
        return ModelsConfig.model_validate(
            {
                "base": base or TRAINED,
                "it": it or TUNED,
                "twin": None,
                "start": "auto",
                "template": "plain",
                "heldout": HELDOUT,
            }
        )

    return make


@pytest.fixture(scope="session")
def random_weights(tokenizer: PreTrainedTokenizerFast) -> Callable[..., PreTrainedModel]:
    """A model with random weights; keywords are fields of TrainedModel."""

    def make(architecture: str, **fields: Any) -> PreTrainedModel:
        spec = TrainedModel.model_validate(TRAINED | {"architecture": architecture} | fields)
        model = random_model(spec, tokenizer).eval()
        for parameter in model.parameters():  # norms start at 0 or 1: make every weight count
            with torch.no_grad():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator()))
        return model.requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def model_folder(
    tokenizer: PreTrainedTokenizerFast, random_weights: Callable[..., PreTrainedModel]
) -> Callable[..., Path]:
    """Write a Hugging Face folder of a model with random weights and its tokenizer."""

    def make(folder: Path, architecture: str = "llama", **fields: Any) -> Path:
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_model(random_weights(architecture, **fields), tokenizer, folder)
        return folder

    return make
