"""A local Hugging Face folder as a writer: it writes plain text, and its odds are its judgement."""

import json
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pipeline import local_files
from pipeline.analysis.explain.asking import Messages
from pipeline.analysis.explain.plain import NO, YES
from pipeline.analysis.explain.writers import Answer
from pipeline.errors import ConfigError
from pipeline.models.skeleton import positions_of
from pipeline.runtime import resolve_device

ENDS = ("\n", ". ", "! ", "? ")
"""What ends the first sentence, after which no more is written."""


class LocalWriter:
    """A Hugging Face folder with a chat template, which decodes greedily."""

    def __init__(self, folder: Path, device: str) -> None:
        if not folder.is_dir():
            raise ConfigError(
                f"explain.writer.path {folder} is no folder, expected a Hugging Face model with a "
                "chat template: name another"
            )
        self._folder, self._device = folder, resolve_device(device)

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def identity(self) -> dict[str, Any]:
        return self._identity

    @cached_property
    def _identity(self) -> dict[str, Any]:
        files = local_files.digests({"kind": "local", "path": str(self._folder)})
        return {"kind": "local", "files": {Path(path).name: file for path, file in files.items()}}

    @cached_property
    def _model(self) -> Any:
        from pipeline.models.load import read_model

        return read_model(
            self._folder, dtype="float32", attention="auto", device=self._device, n_layers=None
        )

    @cached_property
    def _tokenizer(self) -> Any:
        from pipeline.models.load import read_tokenizer

        tokenizer = read_tokenizer(self._folder)
        if not tokenizer.chat_template:
            raise ConfigError(
                f"explain.writer.path {self._folder} has no chat template, expected an "
                "instruction-tuned model that is asked in one: name another folder"
            )
        return tokenizer

    @torch.inference_mode()
    def ask(self, messages: Messages, max_answer_tokens: int) -> Answer:
        """What the model writes, up to the end of a sentence. Where the last message is its own, it
        is the beginning of the answer."""
        begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        ids = self._encoded(messages[:-1] if begun else messages, begun)
        written = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=min(max_answer_tokens, self._room(ids.shape[1])),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=self._tokenizer.eos_token_id,
            stop_strings=list(ENDS),
            tokenizer=self._tokenizer,
        )[0, ids.shape[1] :]
        said = str(self._tokenizer.decode(written, skip_special_tokens=True))
        return Answer(begun + said, True, ids.shape[1] + len(written))

    @torch.inference_mode()
    def odds(self, requests: Sequence[Messages]) -> Answer:
        """For each request the logarithm of how much likelier the answer begins with a yes than
        with a no, as a JSON list."""
        yes, no = self._answers
        found, n_tokens = list[float](), 0
        for messages in requests:
            ids = self._encoded(messages, "")
            logits = self._model(ids).logits[0, -1].float()
            value = logits[yes].logsumexp(0) - logits[no].logsumexp(0)
            found.append(round(value.item(), 5))
            n_tokens += ids.shape[1]
        return Answer(json.dumps(found), True, n_tokens)

    def _room(self, n_tokens: int) -> int:
        """Tokens that can be written after so many: none is read at a position that the model has
        no entry for."""
        limit = positions_of(self._model)
        return sys.maxsize if limit is None else max(1, limit - n_tokens)

    def _encoded(self, messages: Messages, begun: str) -> torch.Tensor:
        """[1, T] of the chat with an answer that is begun."""
        text = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        ids = self._tokenizer(text + begun, add_special_tokens=False)["input_ids"]
        limit = getattr(self._model.config, "max_position_embeddings", None) or len(ids)
        if len(ids) > limit:
            raise ConfigError(
                f"explain.writer.path {self._folder} reads {limit:,} tokens at most, and a request "
                f"has {len(ids):,}: lower explain.n_shown or explain.tokens_before, or name another"
            )
        return torch.tensor([ids], device=self._device)

    @cached_property
    def _answers(self) -> tuple[list[int], list[int]]:
        """The tokens with which a yes can begin, and those with which a no can, less those with
        which both can."""
        yes, no = (
            {self._tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words}
            for words in (YES, NO)
        )
        if not yes - no or not no - yes:
            raise ConfigError(
                f"explain.writer.path {self._folder}: its tokenizer begins yes and no with the "
                "same token, so its judgement cannot be read: name another folder"
            )
        return sorted(yes - no), sorted(no - yes)
