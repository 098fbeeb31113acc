"""Mistakes in files of text and chats, met where they are read first: by the stage `mix`."""

import gzip
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tests.mistakes.inputs import POINTER
from tests.mistakes.pair import TYPED, made, parquet
from tests.mistakes.table import Edit, Mistake, write

TEXT = "".join(
    json.dumps({"text": f"the stone of river {n}, by the water"}) + "\n" for n in range(9)
)
TURN = {"role": "user", "content": "hello"}
CHATS = json.dumps({"conversation": [TURN, {"role": "assistant", "content": "hello"}]}) + "\n"
MANY = 40


def read(
    name: str,
    files: dict[str, Edit],
    *words: str,
    more: tuple[str, ...] = (),
    prepare: Callable[[Path], None] = lambda folder: None,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Mistake:
    """files: what lies in `t` and `c`, beside a pair for which the stage `models` has run."""
    given = {"t/a.jsonl": TEXT, "c/a.jsonl": CHATS * MANY, **files}
    present = {name: content for name, content in given.items() if content is not None}

    def lay_out(folder: Path) -> None:
        for place, content in (made() | present).items():
            write(folder / place, content)
        prepare(folder)

    return Mistake(name, words, typed=(*TYPED, *more), stage="mix", prepare=lay_out, around=around)


def text(name: str, content: str | bytes, *words: str) -> Mistake:
    return read(name, {"t/a.jsonl": content}, *words)


def chat(name: str, conversation: object, *words: str) -> Mistake:
    line = json.dumps({"conversation": conversation})
    return read(name, {"c/a.jsonl": f"{line}\n" * MANY}, *words)


def kind(name: str, file: str, content: str | bytes, *words: str) -> Mistake:
    """The only file of text."""
    return read(name, {"t/a.jsonl": None, f"t/{file}": content}, f"t/{file}", *words)


def link_in_a_circle(folder: Path) -> None:
    (folder / "t").mkdir()
    (folder / "t/a.jsonl").symlink_to("a.jsonl")


MISTAKES = [
    read("no file of text", {"t/a.jsonl": None}, "sources.pile.paths", "'t/*'", "correct the path"),
    read(
        "a link in a circle for a text",
        {"t/a.jsonl": None},
        "sources.pile.paths: no file at 't/*'",
        prepare=link_in_a_circle,
    ),
    text("an empty file of text", "", "sources.pile.paths", "t/a.jsonl is empty", "remove it"),
    text("text that Git LFS has not fetched", POINTER, "t/a.jsonl is a pointer", "`git lfs pull`"),
    text("a file of blank lines", "\n \n\n", "sources.pile", "t/a.jsonl has no rows", "remove it"),
    text("text in UTF-16", TEXT.encode("utf-16"), "t/a.jsonl", "line 1", "UTF-8"),
    text("text in Latin-1", TEXT.encode().replace(b"stone", b"st\xf6ne"), "line 1", "UTF-8"),
    text("a row that is cut off", TEXT + '{"text": "ab', "t/a.jsonl, line 10", "not JSON", "mend"),
    text("a row as Python prints it", "{'text': 'a'}\n", "t/a.jsonl, line 1 is not JSON", "mend"),
    text(
        "an array in lines",
        json.dumps([{"text": "a"}]),
        "line 1",
        "list",
        "rename the file to .json",
    ),
    text("an array over several lines", '[\n{"text": "a"}\n]\n', "t/a.jsonl, line 1", ".json"),
    text("rows that are strings", '"a stone"\n', "line 1", "str", "expected an object", "'text'"),
    text("a text that is a number", '{"text": 3}\n', "line 1", "int", "expected a string"),
    text("a row without the field", '{"body": "a"}\n', "no field 'text'", "body", "text_field"),
    text(
        "text without a word in it",
        '{"text": ""}\n',
        "sources.pile",
        "0 train tokens",
        "empty_documents",
    ),
    text(
        "too little text", '{"text": "a"}\n', "sources.pile ends", "62 tokens needed", "add files"
    ),
    text("compressed text under a plain name", gzip.compress(TEXT.encode()), "line 1", "UTF-8"),
    kind("plain text under a compressed name", "a.jsonl.gz", TEXT, "cannot be read", "rename it"),
    kind("text cut off in its archive", "a.jsonl.gz", gzip.compress(TEXT.encode())[:60], "cut off"),
    kind("a file of plain words", "a.txt", "a stone", "unknown kind", ".parquet", "convert"),
    kind("rows under a name", "a.json", '{"data": [{"text": "a"}]}', "no field 'text'", "data"),
    kind("a table with other columns", "a.parquet", parquet(body=["a"]), "no field 'text'", "body"),
    kind("a table of numbers", "a.parquet", parquet(text=[1, 2]), "row 1", "int"),
    kind("a table that is cut off", "a.parquet", parquet(text=["a"])[:200], "not a readable"),
    chat("one turn for a conversation", TURN, "dict", "expected a list of {role, content}"),
    chat("a conversation that is text", "hello", "str", "expected a list of {role, content}"),
    chat("turns of another form", [{"from": "human", "value": "a"}], "from, value", "role"),
    chat("a turn without its role", [{"content": "a"}], "turn 1", "role"),
    chat("a role that is a number", [TURN | {"role": 1}], "turn 1", "role", "expected"),
    chat(
        "a content in parts",
        [TURN | {"content": [{"text": "a"}]}],
        "turn 1",
        "content",
        "list",
        "expected a string",
    ),
    chat(
        "roles that no template has",
        [TURN | {"role": "human"}] * 2,
        "dropped_other_role_turns",
        "(user, assistant)",
    ),
    read("chats in place of text", {"t/a.jsonl": CHATS}, "no field 'text'", "conversation"),
    read("text in place of chats", {"c/a.jsonl": TEXT}, "no field 'conversation'", "are text"),
]
