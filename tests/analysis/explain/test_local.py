"""A local folder as a writer: whatever it writes is a sentence, and its odds are a judgement."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.analysis.explain.asking import MAX_CHARACTERS
from pipeline.analysis.explain.local import LocalWriter
from pipeline.analysis.explain.plain import (
    BEGUN,
    explain_messages,
    first_sentence,
    judge_messages,
)
from pipeline.errors import ConfigError
from pipeline.text.tokens import train_tokenizer
from tests.models.families import family_folder

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of random weights that reads 400 tokens, with a chat template."""
    tokenizer = train_tokenizer(["User: hello\nAssistant: hello\n", "a stone by the river"], 280)
    place = tmp_path_factory.mktemp("writer")
    family_folder(place, "llama", vocab_size=len(tokenizer), max_position_embeddings=400)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(place)
    return place


def test_a_model_of_random_weights_writes_a_sentence_and_judges(folder: Path) -> None:
    writer = LocalWriter(folder, "cpu")
    answer = writer.ask(explain_messages(["a <<stone>>", "the <<river>>"], ["x"]), 20)
    assert answer.text.startswith(BEGUN)
    assert answer.is_whole
    sentence = first_sentence(answer.text)
    assert sentence is not None
    assert sentence.startswith(BEGUN)
    assert answer == LocalWriter(folder, "cpu").ask(
        explain_messages(["a <<stone>>", "the <<river>>"], ["x"]), 20
    )


def test_a_writer_with_a_table_of_positions_stops_at_its_end(tmp_path: Path, folder: Path) -> None:
    """Rotary positions have no end; an embedding of each has, and beyond it an IndexError."""
    shutil.copytree(folder, tmp_path / "gpt2")
    messages = explain_messages(["a <<stone>>"], [])
    n_read = LocalWriter(folder, "cpu").ask(messages, 1).n_tokens - 1
    size = {"vocab_size": len(AutoTokenizer.from_pretrained(folder))}
    family_folder(tmp_path / "gpt2", "gpt2", max_position_embeddings=n_read + 3, **size)
    answer = LocalWriter(tmp_path / "gpt2", "cpu").ask(messages, 50)
    assert n_read < answer.n_tokens <= n_read + 3


def test_odds_are_of_all_ways_to_begin_a_yes_against_a_no(folder: Path) -> None:
    requests = [judge_messages("it is wet", f"by the <<{word}>>") for word in ("river", "stone")]
    answer = LocalWriter(folder, "cpu").odds(requests)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    for odds, messages in zip(json.loads(answer.text), requests, strict=True):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            chances = model(ids).logits[0, -1].softmax(-1)
        yes, no = (
            sum(chances[tokenizer.convert_tokens_to_ids(letter)].item() for letter in letters)
            for letters in ("Yy", "Nn")
        )
        assert odds == pytest.approx(math.log(yes / no), abs=1e-3)


def test_what_cannot_write_is_told_before_it_is_asked_or_by_its_first_request(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"explain\.writer\.path .* is no folder"):
        LocalWriter(tmp_path / "none", "cpu")
    with pytest.raises(ConfigError, match=r"reads 400 tokens at most, .* lower explain\.n_shown"):
        LocalWriter(folder, "cpu").ask(explain_messages(["a <<stone>>" * 200], []), 5)
    shutil.copytree(folder, tmp_path / "plain")
    (tmp_path / "plain/chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template"):
        LocalWriter(tmp_path / "plain", "cpu").odds([judge_messages("a", "b")])


@given(st.text())
def test_an_excerpt_stays_on_its_line(text: str) -> None:
    asked = explain_messages([text, text], [text])[0]["content"]
    assert len(asked.splitlines()) == 5
    assert len(judge_messages("a", text)[0]["content"].splitlines()) == 3


@given(st.text())
def test_the_first_sentence_is_one_printable_line_or_nothing(text: str) -> None:
    found = first_sentence(text)
    assert found is None or (found.isprintable() and 0 < len(found) <= MAX_CHARACTERS)
    assert first_sentence(f"They are wet. {text}") == "They are wet."
    assert first_sentence("\n\nThey are 1.5 wet\nand cold.") == "They are 1.5 wet"
