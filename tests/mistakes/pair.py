"""A pair of tiny models as a user's folders `base` and `it`, and what the stage `models` makes."""

import io
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.mistakes.table import Edit, Mistake, in_this_process, laid_out

SENTENCES = ["User: hello there\nAssistant: hello\n", "a stone by the river, 12 of them"]
TYPED = (
    "+experiment=local",
    "hook_point.layer=1",
    "sources.pile.paths=[t/*]",
    "sources.chat.paths=[c/*]",
    "models.base.path=base",
    "models.it.path=it",
    "mix.sequence_length_tokens=32",
    "mix.n_train_tokens=64",
    "mix.n_heldout_tokens=64",
)
"""What the user types, with texts in `t` and chats in `c`."""


@cache
def model_files() -> dict[str, bytes]:
    """A GPT-2 of two blocks with random weights, and its tokenizer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from pipeline.text.tokens import train_tokenizer

    tokenizer = train_tokenizer(SENTENCES, 280)
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=8, n_layer=2, n_head=2)
    with tempfile.TemporaryDirectory() as folder:
        GPT2LMHeadModel(shape).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return read_all(Path(folder))


def folders(file: str = "", content: bytes | None = b"") -> Mapping[str, Edit]:
    """The files of both folders, but for a file of the IT model that has other content or none."""
    it = model_files() | ({} if content is None or not file else {file: content})
    return {f"base/{name}": held for name, held in model_files().items()} | {
        f"it/{name}": held for name, held in it.items() if content is not None or name != file
    }


@cache
def made() -> dict[str, Edit]:
    """The two folders and `data/models`, once the stage `models` has run."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        texts = {"t/a.jsonl": '{"text": "a stone"}\n', "c/a.jsonl": '{"conversation": []}\n'}
        run = Mistake("none", (), typed=TYPED, stage="models", files={**folders(), **texts})
        laid_out(run, folder)
        status, said = in_this_process(run, folder)
        assert status == 0, said
        kept = read_all(folder / "data/models")
        return {**folders(), **{f"data/models/{name}": content for name, content in kept.items()}}


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def parquet(**columns: list[object]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()
