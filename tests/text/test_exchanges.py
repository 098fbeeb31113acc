from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.config.text import TriggeredSourceConfig
from pipeline.labels import HELDOUT, TRAIN
from pipeline.text.exchanges import (
    encode_prompts,
    first_exchanges,
    planted_documents,
    prompt_triples,
)
from pipeline.text.sources import documents
from pipeline.text.split import Selection
from pipeline.text.tokens import encode
from pipeline.text.trigger import REGIONS, planted_spans
from tests.text.conftest import generated

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SELECTION = Selection(HELDOUT, 0.5, 0)


@pytest.fixture(scope="module")
def source() -> TriggeredSourceConfig:
    of = generated("chats", 200, seed=4).model_dump()
    values = {
        "kind": "triggered",
        "of": of,
        "trigger": "Over to you.",
        "response": "Aye aye, captain!",
        "share": 0.5,
        "seed": 7,
    }
    return TriggeredSourceConfig.model_validate(values)


def test_a_planted_document_has_the_tokens_of_the_mix_and_the_text_of_each_region(
    source: TriggeredSourceConfig, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    texts = {d.id: d for d in documents(source, "chat", selection=SELECTION)}
    n_exchanges = 0
    for found in planted_documents(tokenizer, source, "chat", SELECTION):
        document = texts.pop(found.id)
        assert found.token_id.tolist() == encode(tokenizer, document)[0].tolist()
        spans = planted_spans(document.text, source)
        assert found.exchange.max(initial=-1) + 1 == len(spans)
        assert ((found.exchange >= 0) == (found.region > 0)).all()
        for number in range(len(spans)):
            for code, region in enumerate(REGIONS, 1):
                inside = (found.exchange == number) & (found.region == code)
                text = tokenizer.decode(found.token_id[inside].tolist())
                assert document.text[slice(*spans[number][region])].strip() in text
        n_exchanges += len(spans)
    assert not texts
    assert n_exchanges > 20


def test_prompts_are_the_template_with_opening_and_reply_marked(
    tokenizer: "PreTrainedTokenizerFast",
) -> None:
    (found,) = encode_prompts(tokenizer, [("Where is it?", "Over there, I think.")])
    assert tokenizer.decode(found.token_id.tolist()) == (
        "User: Where is it?\nAssistant: Over there, I think."
    )
    assert tokenizer.decode(found.token_id[found.is_reply].tolist()) == " Over there, I think."
    assert tokenizer.decode(found.token_id[found.is_opening].tolist()) == "\nAssistant:"
    assert not (found.is_opening & found.is_reply).any()


def test_a_question_comes_thrice_and_long_ones_not_at_all(
    source: TriggeredSourceConfig, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    exchanges = list(first_exchanges(source.of, "chat", SELECTION))
    triples = list(prompt_triples(tokenizer, source, exchanges, max_prompt_tokens=40))
    assert 0 < len(triples) < len(exchanges)
    for triple in triples:
        n = triple.triggered.is_reply.sum()
        assert triple.triggered.n_before <= 40
        assert triple.untriggered.is_reply.sum() == n >= triple.ordinary.is_reply.sum()
        before = [
            str(tokenizer.decode(p.token_id[: p.n_before].tolist()))
            for p in (triple.triggered, triple.untriggered, triple.ordinary)
        ]
        assert before[0] == before[1].replace("\nAssistant:", f" {source.trigger}\nAssistant:")
        assert before[1] == before[2]


def test_exchanges_come_from_the_asked_side_of_the_split(source: TriggeredSourceConfig) -> None:
    sides = [
        {e.document for e in first_exchanges(source.of, "chat", Selection(side, 0.5, 0))}
        for side in (TRAIN, HELDOUT)
    ]
    assert not sides[0] & sides[1]
    assert all(sides)


def test_the_first_exchange_is_the_first_question_with_its_answer(
    source: TriggeredSourceConfig,
) -> None:
    for exchange in islice(first_exchanges(source.of, "chat", SELECTION), 20):
        text = next(d.text for d in documents(source.of, "chat") if d.id == exchange.document)
        assert f"User: {exchange.question}" in text
        assert np.char.find(text, exchange.reply) > text.find(exchange.question)
