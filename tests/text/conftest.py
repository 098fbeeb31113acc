from itertools import islice
from typing import TYPE_CHECKING

import pytest

from pipeline.config.text import GeneratedSourceConfig
from pipeline.text.sources import documents
from pipeline.text.tokens import train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def generated(
    generator: str,
    n_documents: int = 2000,
    seed: int = 3,
    kinds: tuple[str, ...] | None = None,
) -> GeneratedSourceConfig:
    return GeneratedSourceConfig.model_validate(
        {
            "kind": "generated",
            "generator": generator,
            "n_documents": n_documents,
            "seed": seed,
            "kinds": kinds,
        }
    )


@pytest.fixture(scope="session")
def sources() -> dict[str, GeneratedSourceConfig]:
    return {"pile": generated("documents"), "chat": generated("chats", seed=4)}


@pytest.fixture(scope="session")
def tokenizer(sources: dict[str, GeneratedSourceConfig]) -> "PreTrainedTokenizerFast":
    texts = [
        document.text
        for name, spec in sources.items()
        for document in islice(documents(spec, name), 300)
    ]
    return train_tokenizer(texts, 600)
