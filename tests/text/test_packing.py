import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.text import FilesSourceConfig, SourceConfig
from pipeline.errors import SourceError
from pipeline.labels import HELDOUT, TRAIN
from pipeline.text import packing
from pipeline.text.packing import (
    NO_DOCUMENT,
    PackedSequence,
    Packing,
    SequenceStream,
)
from pipeline.text.sources import documents
from pipeline.text.split import Selection
from pipeline.text.tokens import encode, eos_id
from tests.text.conftest import generated

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HALVES = {"pile": 0.5, "chat": 0.5}


def how(length: int = 32, **changes: Any) -> Packing:
    values: dict[str, Any] = {
        "sequence_length_tokens": length,
        "separator": "eos",
        "start_id": 1,
        "selection": Selection(TRAIN, 0.2, 0),
        "n_sequences": 10,
        "repeat": False,
    }
    return Packing(**(values | changes))


def same(one: list[PackedSequence], two: list[PackedSequence]) -> bool:
    return len(one) == len(two) and all(
        a.source == b.source
        and np.array_equal(a.token_id, b.token_id)
        and np.array_equal(a.document, b.document)
        and np.array_equal(a.token_class, b.token_class)
        for a, b in zip(one, two, strict=True)
    )


def chats(path: Path, *conversations: list[tuple[str, str]]) -> FilesSourceConfig:
    rows = [
        {"conversation": [{"role": role, "content": content} for role, content in conversation]}
        for conversation in conversations
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return FilesSourceConfig.model_validate(
        {
            "kind": "files",
            "paths": [str(path)],
            "format": "chat",
            "text_field": "text",
            "conversation_field": "conversation",
        }
    )


def test_bos_is_first_in_every_sequence_and_nowhere_else(
    sources: dict[str, SourceConfig], tokenizer: "PreTrainedTokenizerFast"
) -> None:
    for sequence in islice(SequenceStream(sources, HALVES, tokenizer, how()), 40):
        assert sequence.token_id[0] == tokenizer.bos_token_id
        assert sequence.document[0] == NO_DOCUMENT
        assert not (sequence.token_id[1:] == tokenizer.bos_token_id).any()
        assert (sequence.document[1:] >= 0).all()


def test_without_a_start_documents_fill_the_whole_sequence(
    tokenizer: "PreTrainedTokenizerFast",
) -> None:
    sources, used = {"pile": generated("documents")}, how(start_id=None)
    with_start = SequenceStream(sources, {"pile": 1.0}, tokenizer, how(length=33))
    without = SequenceStream(sources, {"pile": 1.0}, tokenizer, used)
    for _ in range(3):
        expected, found = next(with_start), next(without)
        assert np.array_equal(found.token_id, expected.token_id[1:])
        assert np.array_equal(found.document, expected.document[1:])
    counts = without.packers["pile"].counts()
    assert counts["bos_tokens"] == 0
    begun = counts["document_tokens"] + counts["separator_tokens"]
    assert begun == counts["sequences"] * 32 + counts["leftover_tokens"]


def test_equal_shares_alternate_and_others_follow_their_share(
    sources: dict[str, SourceConfig], tokenizer: "PreTrainedTokenizerFast"
) -> None:
    def drawn(shares: dict[str, float], n: int) -> list[str]:
        return [s.source for s in islice(SequenceStream(sources, shares, tokenizer, how()), n)]

    assert drawn(HALVES, 6) == ["pile", "chat"] * 3
    assert Counter(drawn({"pile": 0.3, "chat": 0.1}, 40)) == {"pile": 30, "chat": 10}


@pytest.mark.parametrize("separator", ["eos", "none"])
def test_sequences_end_to_end_are_the_tokens_of_the_documents(
    sources: dict[str, SourceConfig], tokenizer: "PreTrainedTokenizerFast", separator: str
) -> None:
    packing_used = how(separator=separator)
    sequences = list(islice(SequenceStream(sources, {"chat": 1.0}, tokenizer, packing_used), 60))
    expected: list[tuple[int, int, int]] = []
    found_documents = documents(sources["chat"], "chat", selection=packing_used.selection)
    for document in islice(found_documents, 100):
        token_ids, token_class = encode(tokenizer, document)
        expected += [(i, document.id, c) for i, c in zip(token_ids, token_class, strict=True)]
        expected += [(tokenizer.eos_token_id, document.id, 0)] if separator == "eos" else []  # pyright: ignore[reportAssignmentType]
    columns = ("token_id", "document", "token_class")
    found = list(
        zip(*(np.concatenate([getattr(s, c)[1:] for s in sequences]) for c in columns), strict=True)
    )
    assert len(found) == 60 * 31
    assert found == expected[: len(found)]


@settings(deadline=None, max_examples=12)
@given(
    length=st.integers(2, 40),
    n=st.integers(1, 40),
    stop=st.integers(0, 40),
    batch=st.sampled_from([1, 3, 256]),
    separator=st.sampled_from(["eos", "none"]),
    stretch=st.sampled_from([None, 5, 1000]),
)
def test_no_token_is_lost_and_a_stream_taken_up_is_the_unbroken_one(
    sources: dict[str, SourceConfig],
    tokenizer: "PreTrainedTokenizerFast",
    length: int,
    n: int,
    stop: int,
    batch: int,
    separator: str,
    stretch: int | None,
) -> None:
    used = how(length, separator=separator, stretch_tokens=stretch)
    whole = SequenceStream(sources, HALVES, tokenizer, used)
    sequences = list(islice(whole, n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BATCH_DOCUMENTS", batch)
        stop = min(stop, n)
        broken = SequenceStream(sources, HALVES, tokenizer, used)
        first = list(islice(broken, stop))
        state = json.loads(json.dumps(broken.state()))
        again = SequenceStream(sources, HALVES, tokenizer, used, state)
        assert same(first + list(islice(again, n - stop)), sequences)
    assert again.state() == whole.state()
    assert again.counts() == whole.counts()
    for packer in whole.packers.values():
        counts = packer.counts()
        packed = counts["sequences"] * length + counts["leftover_tokens"]
        begun = counts["document_tokens"] + counts["separator_tokens"] + counts["bos_tokens"]
        assert packed == begun
        n_separators = counts["separator_tokens"] if separator == "eos" else counts["documents"]
        assert n_separators >= counts["documents"]
        assert n_separators == counts["documents"] or stretch == 5
        assert separator == "eos" or not counts["separator_tokens"]


def test_a_stretch_of_every_document_comes_before_a_second_of_any(
    tmp_path: Path, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    path = tmp_path / "a.jsonl"
    texts = ["one two three four five six seven eight nine ten " * n for n in (3, 1, 2)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = FilesSourceConfig.model_validate(
        {
            "kind": "files",
            "paths": [str(path)],
            "format": "text",
            "text_field": "text",
            "conversation_field": "conversation",
        }
    )
    documents_of = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    length = max(8, len(documents_of[1]) - 1)  # the second document fits into two stretches
    wanted = [
        (number, token)
        for first in range(0, max(map(len, documents_of)), length)
        for number, ids in enumerate(documents_of)
        for token in [
            *ids[first : first + length],
            *([eos_id(tokenizer)] if first < len(ids) else []),
        ]
    ]
    used = how(2, selection=Selection(TRAIN, 1e-9, 0), start_id=None, stretch_tokens=length)
    stream = SequenceStream({"pile": source}, {"pile": 1.0}, tokenizer, used)
    found = [
        pair
        for sequence in islice(stream, len(wanted) // 2)
        for pair in zip(sequence.document.tolist(), sequence.token_id.tolist(), strict=True)
    ]
    with pytest.raises(SourceError, match="in 3 documents"):
        next(stream)
    assert found == wanted[: len(found)]
    counts = stream.counts()
    assert counts["pile_document_tokens"] == sum(map(len, documents_of))
    assert counts["pile_documents"] == 3


def test_dropped_documents_and_turns_are_counted_as_they_are_passed(
    tmp_path: Path, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    source = chats(
        tmp_path / "chats.jsonl",
        [("system", "x"), ("user", "one two three four <bos>")],
        [("system", "only")],
        [("user", ""), ("tool", "x"), ("assistant", "five six seven eight")],
        [("user", "")],
    )
    used = how(8, selection=Selection(TRAIN, 1e-9, 0))
    stream = SequenceStream({"chat": source}, {"chat": 1.0}, tokenizer, used)
    next(stream)
    assert stream.counts()["chat_dropped_system_turns"] == 1
    assert stream.counts()["chat_special_token_strings"] == 1
    with pytest.raises(SourceError):
        list(stream)
    counts = stream.counts()
    assert counts["chat_documents"] == 2
    assert counts["chat_dropped_empty_conversations"] == 2
    assert counts["chat_dropped_system_turns"] == 2
    assert counts["chat_dropped_empty_turns"] == 2
    assert counts["chat_dropped_other_role_turns"] == 1


def test_a_source_that_ends_early_is_an_error_with_numbers_and_remedy(
    tokenizer: "PreTrainedTokenizerFast",
) -> None:
    source = {"pile": generated("documents", 12)}
    used = how(64, selection=Selection(HELDOUT, 0.3, 0), n_sequences=500)
    with pytest.raises(SourceError) as error:
        list(SequenceStream(source, {"pile": 1.0}, tokenizer, used))
    message = str(error.value)
    assert "sources.pile ends after " in message
    assert "heldout tokens" in message
    assert f"{500 * 63} tokens needed" in message
    assert "raise sources.pile.n_documents" in message


def test_a_repeated_source_begins_again_and_can_be_taken_up_there(
    tokenizer: "PreTrainedTokenizerFast",
) -> None:
    source = {"pile": generated("documents", 5)}
    used = how(16, repeat=True)
    stream = SequenceStream(source, {"pile": 1.0}, tokenizer, used)
    first = list(islice(stream, 150))
    assert stream.packers["pile"].state.epoch > 0
    rest = list(islice(SequenceStream(source, {"pile": 1.0}, tokenizer, used, stream.state()), 50))
    assert same(
        first + rest, list(islice(SequenceStream(source, {"pile": 1.0}, tokenizer, used), 200))
    )


def test_a_source_without_a_token_is_an_error_even_when_repeated(
    tmp_path: Path, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    source = {"chat": chats(tmp_path / "a.jsonl", [("user", "")], [("system", "x")])}
    with pytest.raises(SourceError, match="ends after 0 train tokens in 0 documents"):
        next(SequenceStream(source, {"chat": 1.0}, tokenizer, how(repeat=True)))


def test_text_that_changed_since_the_state_was_taken_is_an_error(
    tmp_path: Path, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    path = tmp_path / "a.jsonl"
    used = how(8, selection=Selection(TRAIN, 1e-9, 0))
    source = {"chat": chats(path, [("user", "one two three four five six seven")])}
    stream = SequenceStream(source, {"chat": 1.0}, tokenizer, used)
    next(stream)
    chats(path, [("user", "a")])
    with pytest.raises(SourceError, match="the text has changed since the run"):
        next(SequenceStream(source, {"chat": 1.0}, tokenizer, used, stream.state()))


def test_memory_does_not_grow_with_the_number_of_documents(
    tokenizer: "PreTrainedTokenizerFast",
) -> None:
    import tracemalloc

    source = {"pile": generated("documents", 100_000)}
    stream = SequenceStream(source, {"pile": 1.0}, tokenizer, how(256))

    def peak(n: int) -> int:
        tracemalloc.reset_peak()
        for _ in islice(stream, n):
            pass
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak(100)
        assert peak(800) < 1.2 * peak(200)
    finally:
        tracemalloc.stop()
