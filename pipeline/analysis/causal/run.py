"""The causal test over held-out chat sequences, for any maker of replacements."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from pipeline.analysis.causal.patches import (
    GROUPS,
    Batch,
    CausalSums,
    Replacements,
    causal_batch,
    merge,
)
from pipeline.analysis.causal.responses import NO_RESPONSE, Decode, response_positions
from pipeline.analysis.groups import cells_of
from pipeline.analysis.splicing import hooked_pair
from pipeline.artifacts import read_manifest
from pipeline.config import Config
from pipeline.errors import ArtifactError
from pipeline.labels import CHAT, TEMPLATE
from pipeline.models.load import load_tokenizer
from pipeline.progress import Progress
from pipeline.runtime import numpy_generator, resolve_device
from pipeline.stage import MODELS, TOKENS
from pipeline.store import StoreReader


def causal_pass(
    config: Config, replacements: Replacements, *, name: str, bos_token_id: int
) -> CausalSums:
    """Every patch on the chat sequences that `causal` of the configuration asks for, in batches.

    name: of the progress line and log
    """
    device = resolve_device(config.runtime.device)
    tokenizer = load_tokenizer(MODELS)
    pair = hooked_pair(MODELS, config.hook_point, device)
    sequences = chat_sequences(config)

    def decode(token_ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(token_ids)))

    parts = []
    n_tokens = len(sequences) * config.mix.sequence_length_tokens
    with Progress(name, total=n_tokens, unit="tokens") as progress:
        for batch in batches(config, sequences, decode, device):
            parts.append(causal_batch(pair, replacements, batch, bos_token_id))
            progress.advance(batch.token_ids.numel())
    return merge(parts)


def chat_sequences(config: Config) -> np.ndarray:
    """Numbers, ascending, of at most `causal.n_sequences` held-out sequences of chats."""
    counts = read_manifest(TOKENS).counts
    first, n_heldout = counts["n_train_sequences"], counts["n_heldout_sequences"]
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        source = tokens.read("source", first, first + n_heldout)[:, -1]
    chats = first + np.flatnonzero(source == CHAT)
    if chats.size == 0:
        raise ArtifactError(
            f"{TOKENS} holds no held-out sequence of chats, of {n_heldout} held-out ones: raise "
            "mix.n_heldout_tokens and run `dvc repro`"
        )
    random = numpy_generator(config.causal.seed, "causal", "sequences")
    return np.sort(random.permutation(chats)[: config.causal.n_sequences])


def batches(
    config: Config, sequences: np.ndarray, decode: Decode, device: torch.device
) -> Iterator[Batch]:
    """The sequences in batches, with the group of every token."""
    names = ("token_id", "source", "token_class", "document")
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        for at in range(0, len(sequences), config.causal.batch_sequences):
            chosen = sequences[at : at + config.causal.batch_sequences]
            arrays = {name: tokens.take(name, chosen) for name in names}
            position = response_positions(
                arrays["token_id"], arrays["token_class"], arrays["document"], decode
            )
            is_first = position < config.causal.n_first_tokens
            group = np.where(is_first, GROUPS.index("first"), GROUPS.index("later"))
            group[position == NO_RESPONSE] = GROUPS.index("outside")
            yield Batch(
                token_ids=torch.from_numpy(arrays["token_id"]).long().to(device),
                group=torch.from_numpy(group).to(device),
                is_template=torch.from_numpy(arrays["token_class"] == TEMPLATE).to(device),
                cells=torch.from_numpy(cells_of(arrays["source"], arrays["token_class"])).to(
                    device
                ),
            )
