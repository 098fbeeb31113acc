from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from pipeline.config.models import ModelsConfig, TrainedModel
from pipeline.errors import SourceError
from pipeline.labels import TRAIN
from pipeline.models.sequences import (
    Sources,
    heldout_sequences,
    train_tokenizer_on,
    write_training_sequences,
)
from pipeline.text.sources import documents
from pipeline.text.split import split_of

Models = Callable[..., ModelsConfig]


@pytest.fixture
def trained(models_config: Models) -> tuple[ModelsConfig, TrainedModel]:
    models = models_config()
    assert isinstance(models.base, TrainedModel)
    return models, models.base


def texts(sources: Sources, name: str, models: ModelsConfig, *, train: bool) -> Iterator[str]:
    """The documents of one side of the split, found document by document."""
    for document in documents(sources[name], name):
        side = split_of(document.id, name, models.heldout.fraction, models.heldout.seed)
        if (side == TRAIN) == train:
            yield document.text


def joined(tokenizer: PreTrainedTokenizerFast, sequences: np.ndarray) -> str:
    """The text of sequences end to end, BOS left out."""
    return str(tokenizer.decode(sequences[:, 1:].flatten().tolist()))


def test_training_sees_the_train_documents_alone(
    tmp_path: Path, tokenizer, sources, trained
) -> None:
    models, spec = trained
    found = write_training_sequences(
        tmp_path / "s.npy", tokenizer, sources, spec, models.heldout, 1
    )
    text = tokenizer.decode(found.flatten().tolist())
    heldout = [t for t in texts(sources, "pile", models, train=False) if len(t) > 40]
    assert heldout
    assert not any(document[:40] in text for document in heldout)


def test_heldout_sequences_are_the_heldout_documents_in_order(tokenizer, sources, trained) -> None:
    models, _ = trained
    found = joined(tokenizer, heldout_sequences(tokenizer, sources, "chat", models.heldout, 1))
    expected = "<eos>".join(texts(sources, "chat", models, train=False))
    assert len(found) > 50
    assert expected.startswith(found)


def test_every_sequence_starts_with_bos(tmp_path: Path, tokenizer, sources, trained) -> None:
    models, spec = trained
    found = write_training_sequences(
        tmp_path / "s.npy", tokenizer, sources, spec, models.heldout, 1
    )
    assert found.shape == (24, 32)
    assert (found[:, 0] == tokenizer.bos_token_id).all()
    assert not (found[:, 1:] == tokenizer.bos_token_id).any()


def test_the_seed_decides_the_order_and_only_the_order(
    tmp_path: Path, tokenizer, sources, trained
) -> None:
    models, spec = trained

    def write(name: str, seed: int) -> np.ndarray:
        other = spec.model_copy(update={"seed": seed})
        path = tmp_path / name
        return write_training_sequences(path, tokenizer, sources, other, models.heldout, 1)

    first, again, other = write("a.npy", 1), write("b.npy", 1), write("c.npy", 2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert sorted(map(bytes, first)) == sorted(map(bytes, other))


def test_sources_have_their_shares(tmp_path: Path, tokenizer, sources, trained) -> None:
    models, spec = trained
    mixed = spec.model_copy(update={"sources": {"pile": 0.25, "chat": 0.75}})
    found = write_training_sequences(
        tmp_path / "s.npy", tokenizer, sources, mixed, models.heldout, 1
    )
    chats = "<eos>".join(texts(sources, "chat", models, train=True))
    assert sum(joined(tokenizer, row[None]) in chats for row in found) == 18


def test_the_tokenizer_learns_from_train_documents(sources, trained) -> None:
    models, spec = trained
    tokenizer = train_tokenizer_on(sources, spec, models.heldout)
    again = train_tokenizer_on(sources, spec, models.heldout)
    assert len(tokenizer) == spec.vocab_size
    assert tokenizer.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()


def test_too_few_heldout_documents_are_told(tokenizer, sources, trained) -> None:
    models, _ = trained
    many = models.heldout.model_copy(update={"n_sequences": 10_000})
    with pytest.raises(SourceError, match=r"sources\.pile ends after"):
        heldout_sequences(tokenizer, sources, "pile", many, 1)
