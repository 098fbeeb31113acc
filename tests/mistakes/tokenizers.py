"""Mistakes in the tokenizer of one model, met by the stage `models` before it reads a weight."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.mistakes.inputs import POINTER
from tests.mistakes.pair import SENTENCES, TYPED, folders, model_files
from tests.mistakes.table import Mistake, write

Made = Callable[[], bytes | None]
"""What a file of the IT model holds, made when its row is tried; None: there is no such file."""
TEXTS = {"t/a.jsonl": '{"text": "a stone"}\n', "c/a.jsonl": '{"conversation": []}\n'}


def pair(name: str, file: str, content: Made, *words: str, more: tuple[str, ...] = ()) -> Mistake:
    def lay_out(folder: Path) -> None:
        for place, held in folders(file, content()).items():
            write(folder / place, held)

    return Mistake(name, words, (*TYPED, *more), "models", TEXTS, lay_out)


def tokenizer(name: str, content: Made, *words: str, more: tuple[str, ...] = ()) -> Mistake:
    return pair(name, "tokenizer.json", content, *words, more=more)


def altered(change: Callable[[dict[str, Any]], None]) -> bytes:
    """The tokenizer with a part of its JSON changed."""
    whole = json.loads(model_files()["tokenizer.json"])
    change(whole)
    return json.dumps(whole).encode()


@cache
def of_other_words() -> bytes:
    from pipeline.text.tokens import train_tokenizer

    other = train_tokenizer([f"{sentence[::-1]} else" for sentence in SENTENCES], 290)
    return other.backend_tokenizer.to_str().encode()


def two_exchanged(whole: dict[str, Any]) -> None:
    ids = whole["model"]["vocab"]
    ids["a"], ids["b"] = ids["b"], ids["a"]


def one_beyond(whole: dict[str, Any]) -> None:
    whole["model"]["vocab"]["beyond"] = 9999


def renamed_end(whole: dict[str, Any]) -> None:
    for token in whole["added_tokens"]:
        token["content"] = token["content"].replace("<eos>", "<end>")
    ids = whole["model"]["vocab"]
    ids["<end>"] = ids.pop("<eos>")


MISTAKES = [
    tokenizer("no tokenizer", lambda: None, "it has no tokenizer", "tokenizer.json", "get the"),
    tokenizer("an empty tokenizer", lambda: b"", "it has no tokenizer that", "tokenizer.json"),
    tokenizer("a tokenizer that is no JSON", lambda: b"{", "it has no tokenizer that"),
    tokenizer(
        "a tokenizer that Git LFS has not fetched",
        POINTER.encode,
        "tokenizer.json is a pointer of Git LFS",
    ),
    tokenizer("a tokenizer that is a list", lambda: b"[]", "it has no tokenizer that"),
    tokenizer("a tokenizer of other words", of_other_words, "tokenizer mismatch", "share a"),
    tokenizer(
        "two tokens exchanged",
        lambda: altered(two_exchanged),
        "tokenizer mismatch",
        "name two models that share a tokenizer",
    ),
    tokenizer(
        "a token beyond the embedding", lambda: altered(one_beyond), "9999", "tokenizer mismatch"
    ),
    tokenizer(
        "an EOS of another name", lambda: altered(renamed_end), "'<eos>'", "mix.separator=none"
    ),
    pair("tokenizer settings that are no JSON", "tokenizer_config.json", lambda: b"{", "it has no"),
    pair(
        "a start that no tokenizer has",
        "none",
        lambda: b"",
        "mix.start",
        "'<start>'",
        more=("mix.start=<start>",),
    ),
    pair(
        "a chat template that is not there",
        "none",
        lambda: b"",
        "mix.template",
        "chat_template",
        more=("mix.template=chat_template",),
    ),
]
