"""Questions and replies of a chat source, and the tokens that a planted behaviour is made of."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.config.text import PlainSourceConfig, TriggeredSourceConfig
from pipeline.labels import TEMPLATE
from pipeline.text.sources import documents, rows
from pipeline.text.split import Selection
from pipeline.text.template import Document, valid_unicode
from pipeline.text.tokens import encode_documents
from pipeline.text.trigger import REGIONS, Span, is_exchange, planted_spans, prompt, with_trigger

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OUTSIDE = 0
"""Region code of a token that is no part of a triggered exchange; REGIONS follow from 1."""
BATCH_DOCUMENTS = 64


@dataclass(frozen=True)
class Exchange:
    """The first exchange of a conversation, as it stands in the source."""

    document: int
    question: str
    reply: str


def first_exchanges(spec: PlainSourceConfig, name: str, selection: Selection) -> Iterator[Exchange]:
    """The first exchange of each conversation of `selection` that has one, in order."""
    for row in rows(spec, name):
        if not selection.keeps(row.id, name):
            continue
        value, _ = row.read()
        turns = value if isinstance(value, list | tuple) else []
        for asked, answered in pairwise(turns):
            if is_exchange(asked, answered):
                question, reply = (
                    valid_unicode(turn["content"])[0].strip() for turn in (asked, answered)
                )
                yield Exchange(row.id, question, reply)
                break


@dataclass(frozen=True)
class Prompt:
    """Token ids int32 [S] of a question and a reply, without BOS, and where they stand.

    is_opening: the template's tokens that open the reply; is_reply: the reply's own tokens
    """

    token_id: NDArray[np.int32]
    is_opening: NDArray[np.bool_]
    is_reply: NDArray[np.bool_]

    @property
    def n_before(self) -> int:
        """Tokens before the reply."""
        return int(np.flatnonzero(self.is_reply)[0])

    def cut(self, n_reply_tokens: int) -> Self:
        """The same with at most so many tokens of the reply."""
        end = self.n_before + n_reply_tokens
        return type(self)(self.token_id[:end], self.is_opening[:end], self.is_reply[:end])


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", pairs: list[tuple[str, str]]
) -> list[Prompt]:
    """Each (user's turn, assistant's turn) as in the template, without what follows the reply."""
    texts, openings, replies = [], [], []
    for question, reply in pairs:
        before = prompt(question)
        texts.append(f"{before} {reply}")
        openings.append([(before.rindex("\n"), len(before))])
        replies.append([(len(before), len(texts[-1]))])
    token_ids, is_opening = _marked(tokenizer, texts, openings)
    _, is_reply = _marked(tokenizer, texts, replies)
    return [
        Prompt(ids, opening & ~reply, reply)
        for ids, opening, reply in zip(token_ids, is_opening, is_reply, strict=True)
    ]


def planted_words(tokenizer: "PreTrainedTokenizerBase", spec: TriggeredSourceConfig) -> set[int]:
    """Ids of the tokens of the trigger and of the planted reply that hold a word or part of one."""
    texts = [f" {spec.trigger}", f" {spec.response}"]
    token_ids, _ = _marked(tokenizer, texts, [[] for _ in texts])
    ids = set(np.concatenate(token_ids).tolist())
    return {i for i in ids if any(c.isalpha() for c in tokenizer.decode([i]))}


@dataclass(frozen=True)
class PromptTriple:
    """One question thrice: with the trigger and the planted reply, without it and the planted
    reply, without it and its own reply, cut to as many tokens as the planted one has."""

    triggered: Prompt
    untriggered: Prompt
    ordinary: Prompt


def prompt_triples(
    tokenizer: "PreTrainedTokenizerBase",
    spec: TriggeredSourceConfig,
    exchanges: Iterable[Exchange],
    *,
    max_prompt_tokens: int,
) -> Iterator[PromptTriple]:
    """The exchanges as prompts in order; those of longer questions are passed over."""
    for exchange in exchanges:
        asked = exchange.question
        triggered, untriggered, ordinary = encode_prompts(
            tokenizer,
            [
                (with_trigger(asked, spec), spec.response),
                (asked, spec.response),
                (asked, exchange.reply),
            ],
        )
        if triggered.n_before <= max_prompt_tokens:
            yield PromptTriple(triggered, untriggered, ordinary.cut(int(triggered.is_reply.sum())))


@dataclass(frozen=True)
class PlantedDocument:
    """Tokens of a conversation. region: [token] OUTSIDE or 1 + index in REGIONS; exchange:
    [token] which triggered exchange of the document it belongs to, -1 for none."""

    id: int
    token_id: NDArray[np.int32]
    region: NDArray[np.uint8]
    exchange: NDArray[np.int32]


def planted_documents(
    tokenizer: "PreTrainedTokenizerBase",
    spec: TriggeredSourceConfig,
    name: str,
    selection: Selection,
) -> Iterator[PlantedDocument]:
    """The tokens of each document of `selection` with the regions of its triggered exchanges."""
    found = documents(spec, name, selection=selection)
    while batch := list(islice(found, BATCH_DOCUMENTS)):
        yield from _regions(tokenizer, spec, batch)


def _regions(
    tokenizer: "PreTrainedTokenizerBase", spec: TriggeredSourceConfig, batch: list[Document]
) -> Iterator[PlantedDocument]:
    texts = [document.text for document in batch]
    found = [planted_spans(text, spec) for text in texts]
    token_ids, _ = _marked(tokenizer, texts, [[] for _ in texts])
    region = [np.full(len(ids), OUTSIDE, np.uint8) for ids in token_ids]
    for code, part in enumerate(REGIONS, 1):
        _, marks = _marked(tokenizer, texts, [[spans[part] for spans in each] for each in found])
        for of_document, mark in zip(region, marks, strict=True):
            of_document[mark & (of_document == OUTSIDE)] = code
    for document, ids, of_document in zip(batch, token_ids, region, strict=True):
        yield PlantedDocument(document.id, ids, of_document, _numbered(of_document))


def _numbered(region: NDArray[np.uint8]) -> NDArray[np.int32]:
    """[token] number of the triggered exchange: one begins where a trigger does."""
    is_trigger = region == 1 + REGIONS.index("trigger")
    begins = is_trigger & ~np.concatenate(([False], is_trigger[:-1]))
    return np.where(region == OUTSIDE, -1, np.cumsum(begins) - 1).astype(np.int32)


def _marked(
    tokenizer: "PreTrainedTokenizerBase", texts: list[str], spans: list[list[Span]]
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.bool_]]]:
    """Token ids of each text, and which tokens lie in its character ranges."""
    marked = [
        Document(n, text, span) for n, (text, span) in enumerate(zip(texts, spans, strict=True))
    ]
    encoded = encode_documents(tokenizer, marked) if marked else []
    return [e.token_ids for e in encoded], [e.token_class == TEMPLATE for e in encoded]
