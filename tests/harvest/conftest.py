"""A small hooked pair and a token store with a BOS in the middle of a sequence."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pipeline.harvest.pair import HookedPair
from pipeline.store import StoreReader, StoreWriter, token_layout
from pipeline.text.tokens import train_tokenizer

N_SEQUENCES, LENGTH, VOCABULARY, D_MODEL, BOS = 22, 16, 60, 8, 1


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small lose time on more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_llama(
    seed: int, *, vocabulary: int = VOCABULARY, d_model: int = D_MODEL
) -> PreTrainedModel:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=vocabulary,
        hidden_size=d_model,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def model_folder() -> Callable[..., Path]:
    """Write a Hugging Face folder of a random Llama and a tokenizer, the same for every seed."""
    tokenizer = train_tokenizer(["User: hello there\nAssistant: a stone\n"], 280)

    def make(folder: Path, *, seed: int = 0, d_model: int = D_MODEL) -> Path:
        model = random_llama(seed, vocabulary=len(tokenizer), d_model=d_model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def small_pair() -> HookedPair:
    return HookedPair(
        [random_llama(0), random_llama(1)], layers=(2,), d_model=D_MODEL, start_id=BOS
    )


@pytest.fixture
def pair() -> HookedPair:
    return small_pair()


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[StoreReader]:
    """22 sequences of 16 tokens; number 3 has a second BOS at position 7, number 5 a third one."""
    random = np.random.default_rng(0)
    shape = (N_SEQUENCES, LENGTH)
    token_id = random.integers(2, VOCABULARY, shape).astype(np.int32)
    token_id[:, 0] = BOS
    token_id[3, 7] = BOS
    token_id[5, 8:10] = BOS
    rows = {
        "token_id": token_id,
        "document": random.integers(0, 50, shape).astype(np.int32),
        "source": np.repeat(np.arange(N_SEQUENCES) % 2, LENGTH).reshape(shape).astype(np.uint8),
        "token_class": random.integers(0, 2, shape).astype(np.uint8),
        "split": np.zeros(N_SEQUENCES, np.uint8),
    }
    path = tmp_path / "tokens.zarr"
    layout = token_layout(LENGTH, rows_per_chunk=4, sources=("pile", "chat"))
    with StoreWriter.open(path, layout) as writer:
        writer.append(rows)
        writer.finish()
    with StoreReader.open(path) as reader:
        yield reader
