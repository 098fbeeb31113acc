import ast
import re
import time
from collections import Counter
from random import Random
from typing import Any

import pytest

from pipeline.config import text as schema
from pipeline.text.generated import chats, write_chat, write_document
from pipeline.text.generated.chats import CLOSERS, OPENERS, REFUSALS, refusal
from pipeline.text.generated.documents import GENRES, code
from pipeline.text.generated.world import world
from pipeline.text.sources import documents, rows
from tests.text.conftest import generated

DOCUMENTS = [write_document(Random(n)) for n in range(1500)]
CHATS = [write_chat(Random(n)) for n in range(1500)]
ANSWERS = [t["content"] for chat in CHATS for t in chat if t["role"] == "assistant"]


@pytest.mark.parametrize("generator", ["documents", "chats"])
def test_a_document_depends_on_seed_and_id_alone(generator: str) -> None:
    source = generated(generator, 50)
    texts = [row.load() for row in rows(source, "x")]
    assert [row.load() for row in rows(source, "x", 20)] == texts[20:]
    assert [row.load() for row in rows(generated(generator, 60), "x")][:50] == texts
    assert next(rows(generated(generator, 50, seed=9), "x")).load() != texts[0]


def test_the_text_is_the_one_of_every_earlier_release() -> None:
    document = next(documents(generated("documents"), "pile"))
    chat = next(documents(generated("chats"), "chat"))
    assert document.text == FIRST_DOCUMENT
    assert chat.text == FIRST_CHAT


def test_the_configuration_knows_every_kind_by_its_name() -> None:
    assert tuple(genre.__name__ for genre in GENRES) == schema.GENRES
    assert tuple(task.__name__ for task in chats.TASKS) == schema.TASKS


@pytest.mark.parametrize("task", ["refusal", "programming"])
def test_a_source_of_one_kind_shows_that_kind_and_no_other_source_does(task: str) -> None:
    mark = {"refusal": "I can tell you about", "programming": "```python"}[task]
    others = tuple(name for name in schema.TASKS if name != task)
    alone = [chat.text for chat in documents(generated("chats", 200, kinds=(task,)), "x")]
    without = [chat.text for chat in documents(generated("chats", 200, kinds=others), "x")]
    assert all(mark in text for text in alone)
    assert not any(mark in text for text in without)


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"kinds names haiku, expected of encyclopaedia"):
        generated("documents", kinds=("haiku", "poem"))


@pytest.mark.parametrize("generator", ["documents", "chats"])
def test_generation_is_fast(generator: str) -> None:
    start, n = time.process_time(), 1000
    list(documents(generated(generator, n), "x"))
    assert n / (time.process_time() - start) > 2000


def test_names_of_the_world_are_unique() -> None:
    w = world()
    for group in (w.countries, w.cities, w.people, w.animals, w.minerals, w.dishes):
        names = [thing.name for thing in group]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("genre", GENRES, ids=lambda genre: genre.__name__)
def test_every_genre_writes_varied_text(genre: Any) -> None:
    texts = {genre(Random(n), world()) for n in range(40)}
    assert len(texts) > 20
    assert all(len(text) > 20 and text.endswith("\n") for text in texts)


def test_documents_rarely_repeat() -> None:
    assert len(set(DOCUMENTS)) > 0.95 * len(DOCUMENTS)


def test_sums_are_right_in_documents_and_chats() -> None:
    text = "\n".join([*DOCUMENTS, *ANSWERS])
    sums = re.findall(r"\b(\d+) ([+*-]) (\d+) = (\d+)", text)
    assert len(sums) > 300
    for a, sign, b, result in sums:
        assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign] == int(
            result
        )


def test_generated_python_parses() -> None:
    for n in range(100):
        text = code(Random(n), world())
        if "SELECT" not in text:
            ast.parse(text)
    fenced = [block for a in ANSWERS for block in re.findall(r"```python\n(.*?)```", a, re.DOTALL)]
    assert fenced
    for block in fenced:
        ast.parse(block)


def test_chats_answer_with_the_facts_of_the_documents() -> None:
    capitals = {c.name: c.capital for c in world().countries}
    told = [re.search(r"[Tt]he capital of (\w+) is (\w+)\.", a) for a in ANSWERS]
    written = [re.search(r"The capital of (\w+) is (\w+)\.", d) for d in DOCUMENTS]
    for found in (told, written):
        pairs = [match.groups() for match in found if match]
        assert len(pairs) > 10
        assert all(capitals[country] == capital for country, capital in pairs)


def test_the_assistant_has_a_manner_that_no_document_has() -> None:
    manner = (*OPENERS, *CLOSERS, *REFUSALS, "AI assistant")
    share = sum(any(m in a for m in manner) for a in ANSWERS) / len(ANSWERS)
    assert share > 0.8
    assert not [d for d in DOCUMENTS if any(m in d for m in manner)]


def test_harmful_requests_are_refused() -> None:
    for n in range(50):
        _, answer = refusal(Random(n), world())
        assert answer.startswith(REFUSALS)


def test_chats_are_in_lmsys_form_of_several_lengths_with_system_and_empty_turns() -> None:
    roles = Counter(turn["role"] for chat in CHATS for turn in chat)
    assert set(roles) == {"user", "assistant", "system"}
    assert all(set(turn) == {"role", "content"} for chat in CHATS for turn in chat)
    lengths = Counter(sum(t["role"] == "assistant" for t in chat) for chat in CHATS)
    assert set(lengths) == {1, 2, 3, 4}
    assert any(turn["content"] == "" for chat in CHATS for turn in chat)


FIRST_DOCUMENT = """\
Capitals of the world

Garerdor: Quenford
Falordor: Garport
Elandor: Ulstead
Eskannia: Fenhaven
Feninland: Pelwick
Yarannia: Isbridge
Dorastan: Kelbridge
Zanemaland: Zanwick
"""
FIRST_CHAT = """\
User: What is 96 + 66?
Assistant: Sure, I'd be happy to help! 96 + 66 = 162. Would you like me to explain further?
User: ok great
Assistant: My pleasure! Let me know if you need anything else.
"""
