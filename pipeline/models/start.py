"""What every sequence starts with: a token that both models know by one id, or nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import write_json
from pipeline.errors import MissingArtifactError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

START_FILE = "start.json"


@dataclass(frozen=True)
class Start:
    """token and id: what stands at position 0 of every sequence, both None for nothing
    why: where the choice comes from, for people"""

    token: str | None
    id: int | None
    why: str

    def __str__(self) -> str:
        return "nothing" if self.token is None else f"{self.token} (id {self.id})"


def choose_start(choice: str, base: PreTrainedTokenizerFast, it: PreTrainedTokenizerFast) -> Start:
    """The start that `mix.start` stands for.

    auto: the base model's BOS, nothing where it has none; bos, eos: these tokens of the base model;
    none: nothing; anything else: the token of that name
    Raises ModelError where there is no such token, or its ids differ.
    """
    if choice == "none":
        return Start(None, None, "mix.start is none")
    if choice == "auto" and base.bos_token is None:
        return Start(None, None, "the base model's tokenizer has no BOS")
    role = {"auto": "bos", "bos": "bos", "eos": "eos"}.get(choice)
    token = choice if role is None else getattr(base, f"{role}_token")
    if token is None:
        raise ModelError(
            f"mix.start is {choice}, but the tokenizer of the base model has no "
            f"{choice.upper()}: set mix.start=none, or name a token of its vocabulary"
        )
    why = f"mix.start is {choice}" if choice != "auto" else "the base model's BOS"
    return Start(token, shared_id(token, base, it, "mix.start=none or another token"), why)


def shared_id(
    token: str, base: PreTrainedTokenizerFast, it: PreTrainedTokenizerFast, remedy: str
) -> int:
    """The one id that both vocabularies give a token, whatever role it has there.

    Raises ModelError with both ids; `remedy` is what may be set instead.
    """
    ids = [tokenizer.get_vocab().get(token) for tokenizer in (base, it)]
    if ids[0] is None or ids[0] != ids[1]:
        found = ["no id" if found is None else f"id {found}" for found in ids]
        raise ModelError(
            f"tokenizer mismatch: token {token!r} has {found[0]} for the base model and {found[1]} "
            f"for the IT model: set {remedy}, or name two models that share a tokenizer"
        )
    return ids[0]


def write_start(models_dir: Path, start: Start) -> None:
    """Write `start.json`."""
    write_json(models_dir / START_FILE, asdict(start))


def read_start(models_dir: Path) -> Start:
    """What the models stage decided; MissingArtifactError where it has not run."""
    path = models_dir / START_FILE
    if not path.is_file():
        raise MissingArtifactError(f"{path} not found: run `dvc repro models`")
    return Start(**json.loads(path.read_text()))
