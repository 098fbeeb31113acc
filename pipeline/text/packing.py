"""Packed sequences: the start first, documents of one source end to end, from any point of the
stream.

Letters: S sequence length in tokens, the start included.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config.text import SourceConfig
from pipeline.errors import SourceError
from pipeline.labels import OTHER, SPLITS
from pipeline.text.sources import rows
from pipeline.text.split import Selection
from pipeline.text.template import PLAIN, Document, Dropped, Template
from pipeline.text.tokens import Encoded, count_specials, encode_documents, eos_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_DOCUMENT = -1
ROUNDING = 1e-6
"""Of a sequence: a share such as 0.07 times a whole number is seldom whole to the last bit."""
BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 2**20
EMPTY = Encoded(np.empty(0, np.int32), np.empty(0, np.uint8), 0)
Separator = Literal["eos", "none"]


@dataclass(frozen=True, slots=True)
class PackedSequence:
    """One sequence: token_id int32 [S], document int32 [S] (NO_DOCUMENT for the start),
    token_class uint8 [S]; a separator counts to the document before it."""

    source: str
    token_id: NDArray[np.int32]
    document: NDArray[np.int32]
    token_class: NDArray[np.uint8]


@dataclass
class SourceState:
    """How far a source has been packed: all that is needed to go on, and what was counted.

    epoch: times that the source has been begun again; document: id of the row to go on with;
    offset: tokens of it, or of its stretch, that are packed already
    counts: of documents begun, their tokens, separators, and what was dropped by reason
    """

    n_sequences: int = 0
    epoch: int = 0
    document: int = 0
    offset: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "counts": dict(sorted(self.counts.items()))}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "SourceState":
        return cls(**{**state, "counts": Counter(state["counts"])})


@dataclass(frozen=True)
class Packing:
    """How to pack.

    start_id: the token that every sequence begins with, None for none
    n_sequences: how many will be asked of the stream, so that an error can tell what is missing
    repeat: begin a source again at its end instead of raising SourceError
    template: of conversations
    stretch_tokens: take so many tokens of each document, and only where the source ends before
        there are enough the next so many of each, and so on; None: documents whole
    """

    sequence_length_tokens: int
    separator: Separator
    start_id: int | None
    selection: Selection
    n_sequences: int
    repeat: bool
    template: Template = PLAIN
    stretch_tokens: int | None = None

    @property
    def n_starts(self) -> int:
        """Tokens of a sequence that come from no document."""
        return int(self.start_id is not None)


class SequenceStream:
    """Sequences of several sources in turn by their shares, without end.

    Sequence n comes from the source furthest behind its share, so equal shares alternate.
    `state()` after sequence n, given to a new stream, continues with sequence n + 1. Counts follow
    the sequences given out, never the documents read ahead. Memory does not grow.
    """

    def __init__(
        self,
        sources: Mapping[str, SourceConfig],
        shares: Mapping[str, float],
        tokenizer: "PreTrainedTokenizerBase",
        packing: Packing,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        total = sum(shares.values())
        self.shares = {name: share / total for name, share in shares.items()}
        states = state or {}
        self.packers = {
            name: SourcePacker(
                sources[name],
                name,
                tokenizer,
                packing,
                SourceState.from_json(states[name]) if name in states else SourceState(),
                ceil(share * packing.n_sequences - ROUNDING),
            )
            for name, share in self.shares.items()
        }

    def __iter__(self) -> Iterator[PackedSequence]:
        return self

    def __next__(self) -> PackedSequence:
        n_next = 1 + sum(packer.state.n_sequences for packer in self.packers.values())
        behind = {
            name: share * n_next - self.packers[name].state.n_sequences
            for name, share in self.shares.items()
        }
        return self.packers[max(behind, key=behind.__getitem__)].next_sequence()

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as plain data for JSON."""
        return {name: packer.state.to_json() for name, packer in self.packers.items()}

    def counts(self) -> dict[str, int]:
        """Counts so far, as `<source>_<what>`: nothing disappears without one."""
        return {
            f"{name}_{what}": n
            for name, packer in self.packers.items()
            for what, n in packer.counts().items()
        }


class SourcePacker:
    """Packs one side of the split of one source, from `state` on."""

    def __init__(
        self,
        spec: SourceConfig,
        name: str,
        tokenizer: "PreTrainedTokenizerBase",
        packing: Packing,
        state: SourceState,
        n_sequences: int,
    ) -> None:
        self.n_sequences = n_sequences
        self.spec, self.name, self.tokenizer, self.packing = spec, name, tokenizer, packing
        self.state = state
        self.eos = eos_id(tokenizer) if packing.separator == "eos" else None
        self.current = EMPTY
        self.items = self._encoded(state.document)
        self.has_given = state.n_sequences > 0  # a token since the source was begun (again)

    def next_sequence(self) -> PackedSequence:
        """The next sequence. Raises SourceError where the source ends before it is full."""
        S = self.packing.sequence_length_tokens
        token_id, document = np.empty(S, np.int32), np.empty(S, np.int32)
        token_class = np.empty(S, np.uint8)
        filled = self.packing.n_starts
        if self.packing.start_id is not None:
            token_id[0], document[0], token_class[0] = self.packing.start_id, NO_DOCUMENT, OTHER
        while filled < S:
            if self.current is EMPTY:
                self._open_next()
            start = self.state.offset
            stop = min(start + S - filled, len(self.current.token_ids))
            into = slice(filled, filled + stop - start)
            token_id[into] = self.current.token_ids[start:stop]
            token_class[into] = self.current.token_class[start:stop]
            document[into] = self.state.document
            filled = into.stop
            self.state.offset = stop
            if stop == len(self.current.token_ids):
                self._close()
        self.state.n_sequences += 1
        return PackedSequence(self.name, token_id, document, token_class)

    def counts(self) -> dict[str, int]:
        """Counts so far. document_tokens + separator_tokens + bos_tokens
        = sequences * S + leftover_tokens."""
        n_starts = self.state.n_sequences * self.packing.n_starts
        packed = self.state.n_sequences * self.packing.sequence_length_tokens - n_starts
        counts = self.state.counts
        begun = counts["document_tokens"] + counts["separator_tokens"]
        return {
            "sequences": self.state.n_sequences,
            "bos_tokens": n_starts,
            "leftover_tokens": begun - packed,
            **{key: counts[key] for key in ("documents", "document_tokens", "separator_tokens")},
            **{key: n for key, n in sorted(counts.items()) if key not in BASIC_COUNTS},
        }

    def _open_next(self) -> None:
        """Go on to the next document that has tokens left, counting what is passed."""
        for item, encoded in self.items:
            resumed = self.state.offset > 0
            if resumed:
                self._check_resumed(item, encoded)
            else:
                self.state.document = item.id
                self._count(item, encoded)
            if len(encoded.token_ids):
                self.current, self.has_given = encoded, True
                return
            self._close()
        self._begin_again()

    def _close(self) -> None:
        self.current = EMPTY
        self.state.document += 1
        self.state.offset = 0

    def _begin_again(self) -> None:
        # A run that was taken up does not know whether this round of stretches gave a token before.
        # At worst it reads the source once more.
        goes_on = self.packing.repeat or self.packing.stretch_tokens is not None
        if not goes_on or not self.has_given:
            raise SourceError(self._too_small())
        self.has_given = False
        self.state.epoch += 1
        self.state.document = 0
        self.items = self._encoded(0)
        self._open_next()

    def _count(self, item: Document | Dropped, encoded: Encoded) -> None:
        counts = self.state.counts
        is_further = self.packing.stretch_tokens is not None and self.state.epoch > 0
        if not is_further:
            counts.update({f"dropped_{reason}": n for reason, n in item.dropped.items()})
        if isinstance(item, Document) and not (is_further and encoded is EMPTY):
            n_separators = int(self.eos is not None)
            counts["documents"] += not is_further
            counts["document_tokens"] += len(encoded.token_ids) - n_separators
            counts["separator_tokens"] += n_separators
            if not is_further:
                counts.update(count_specials(encoded))

    def _check_resumed(self, item: Document | Dropped, encoded: Encoded) -> None:
        if item.id != self.state.document or len(encoded.token_ids) <= self.state.offset:
            raise SourceError(
                f"sources.{self.name}: the text has changed since the run that is being resumed "
                f"(document {item.id} of {len(encoded.token_ids)} tokens found, document "
                f"{self.state.document} of more than {self.state.offset} tokens expected): put the "
                "old text back, or remove data/.work to start afresh"
            )

    def _encoded(self, start: int) -> Iterator[tuple[Document | Dropped, Encoded]]:
        """Rows of this side of the split in order, tokenized in batches."""
        batch: list[Document | Dropped] = []
        n_characters = 0
        for row in rows(self.spec, self.name, start):
            if not self.packing.selection.keeps(row.id, self.name):
                continue
            item = row.load(self.packing.template)
            batch.append(item)
            n_characters += len(item.text) if isinstance(item, Document) else 0
            if len(batch) == BATCH_DOCUMENTS or n_characters >= BATCH_CHARACTERS:
                yield from self._encode_batch(batch)
                batch, n_characters = [], 0
        yield from self._encode_batch(batch)

    def _encode_batch(
        self, batch: list[Document | Dropped]
    ) -> Iterator[tuple[Document | Dropped, Encoded]]:
        documents = [item for item in batch if isinstance(item, Document)]
        encoded = iter(encode_documents(self.tokenizer, documents) if documents else [])
        for item in batch:
            yield (item, self._separated(next(encoded)) if isinstance(item, Document) else EMPTY)

    def _separated(self, encoded: Encoded) -> Encoded:
        """The tokens of a document, or of its stretch whose turn it is, and the separator."""
        if length := self.packing.stretch_tokens:
            first = self.state.epoch * length
            if first and first >= len(encoded.token_ids):
                return EMPTY
            stretch = slice(first, first + length)
            encoded = replace(
                encoded,
                token_ids=encoded.token_ids[stretch],
                token_class=encoded.token_class[stretch],
            )
        if self.eos is None:
            return encoded
        return Encoded(
            np.append(encoded.token_ids, np.int32(self.eos)),
            np.append(encoded.token_class, np.uint8(OTHER)),
            encoded.special_token_strings,
        )

    def _too_small(self) -> str:
        split = SPLITS[self.packing.selection.split]
        counts = self.counts()
        room = self.packing.sequence_length_tokens - self.packing.n_starts
        needed = self.n_sequences * room
        found = counts["document_tokens"] + counts["separator_tokens"]
        remedy = {
            "generated": f"raise sources.{self.name}.n_documents",
            "files": f"add files to sources.{self.name}.paths",
            "hub": f"name a larger split in sources.{self.name}.split",
            "triggered": f"give sources.{self.name}.of more chats",
        }[self.spec.kind]
        dropped = {key: n for key, n in counts.items() if key.startswith("dropped_")}
        if dropped.get("dropped_other_role_turns") and not counts["documents"]:
            roles = ", ".join(self.packing.template.roles)
            remedy = f"name the roles in its turns as the template does ({roles})"
        return (
            f"sources.{self.name} ends after {found} {split} tokens in {counts['documents']} "
            f"documents (enough for {self.state.n_sequences} sequences of "
            f"{self.packing.sequence_length_tokens} tokens; dropped: {dropped or 'nothing'}), "
            f"{needed} tokens needed: {remedy}, or ask for fewer {split} tokens"
        )


BASIC_COUNTS = ("documents", "document_tokens", "separator_tokens")


def training_sequences(
    sources: Mapping[str, SourceConfig],
    shares: Mapping[str, float],
    tokenizer: "PreTrainedTokenizerBase",
    packing: Packing,
) -> Iterator[NDArray[np.int32]]:
    """Token ids int32 [S] of one sequence after the other."""
    stream = SequenceStream(sources, shares, tokenizer, packing)
    return (sequence.token_id for sequence in stream)
