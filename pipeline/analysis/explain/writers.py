"""Who is asked: an OpenAI-compatible endpoint that the environment names, or a local folder."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline import local_files
from pipeline.analysis.explain.asking import Form, Messages
from pipeline.config.explain import EndpointWriter, ExplainConfig
from pipeline.config.models import LocalModel
from pipeline.errors import ConfigError, EndpointError
from pipeline.paths import located
from pipeline.runtime import resolve_device

if TYPE_CHECKING:
    from openai import OpenAI

BASE_URL, MODEL, KEY = "EXPLAIN_BASE_URL", "EXPLAIN_MODEL", "EXPLAIN_API_KEY"
REFUSED = {
    400: "name another model, or shorten the request (explain.n_judged, explain.tokens_before)",
    401: f"set {KEY}",
    403: f"set {KEY} to one that may use the model",
    404: f"set {BASE_URL} to the address before /chat/completions, and {MODEL} to a model there",
}
"""Status of a refusal that does not pass by itself, and what to do."""
LATER = "run the stage again later: what was answered is kept"


@dataclass(frozen=True)
class Answer:
    """text: of the model; is_whole: whether it ended by itself; n_tokens: of request and answer."""

    text: str
    is_whole: bool
    n_tokens: int


class Writer(Protocol):
    """A model that answers, in the form where it can be held to it. name: for people; identity:
    what an answer depends on besides the request."""

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> dict[str, Any]: ...
    def ask(self, messages: Messages, form: Form, max_answer_tokens: int) -> Answer: ...


def writer_of(section: ExplainConfig, device: str) -> Writer | None:
    """The configured writer; None for none. Raises ConfigError where an endpoint is not named, or a
    folder is not there. device: as in runtime.device"""
    match section.writer:
        case EndpointWriter(n_retries=n_retries, timeout_seconds=timeout_seconds):
            return Endpoint.from_environment(n_retries, timeout_seconds)
        case LocalModel(path=path):
            return LocalWriter(located(path), device)
        case _:
            return None


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint, through the official client. It sends a request again after
    429, 5xx, timeouts and lost connections, later each time, or as late as the answer asks."""

    base_url: str
    model: str
    key: str
    n_retries: int
    timeout_seconds: float

    @classmethod
    def from_environment(cls, n_retries: int, timeout_seconds: float) -> "Endpoint":
        for name in (BASE_URL, MODEL):
            if not os.environ.get(name):
                raise ConfigError(
                    f"explain.writer is endpoint, but {name} is not set in the environment: set "
                    f"{BASE_URL}, {MODEL} and, where the endpoint asks for one, {KEY}"
                )
        key = os.environ.get(KEY) or "none"  # the client asks for one, local servers do not
        url, model = os.environ[BASE_URL], os.environ[MODEL]
        return cls(url, model, key, n_retries, timeout_seconds)

    @property
    def name(self) -> str:
        return self.model

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "endpoint", "base_url": self.base_url, "model": self.model}

    @cached_property
    def _client(self) -> "OpenAI":
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ConfigError(
                "explain.writer is endpoint, but the package openai is not installed: run "
                "`pip install '.[explain]'`"
            ) from error
        return OpenAI(
            base_url=self.base_url,
            api_key=self.key,
            max_retries=self.n_retries,
            timeout=self.timeout_seconds,
        )

    def ask(self, messages: Messages, form: Form, max_answer_tokens: int) -> Answer:
        """The model's answer. Raises EndpointError where there is none."""
        del form  # few endpoints take the beginning of an answer
        client = self._client
        from openai import APIStatusError, OpenAIError

        asked: Any = messages
        try:
            reply = client.chat.completions.create(
                model=self.model, messages=asked, max_tokens=max_answer_tokens, temperature=0.0
            )
            return _answer(reply, messages)
        except APIStatusError as error:
            remedy = REFUSED.get(error.status_code, LATER)
            raise EndpointError(
                f"{self.base_url} answered with status {error.status_code}: {remedy}"
            ) from error
        except (OpenAIError, ValueError) as error:  # ValueError: a body that is no JSON
            cause = type(error).__name__
            raise EndpointError(f"{self.base_url} gave no answer ({cause}): {LATER}") from error


def _answer(reply: Any, messages: Messages) -> Answer:
    """What a reply holds. Raises ValueError where it is no completion: servers answer anything, and
    the client checks no types."""
    choices: Any = getattr(reply, "choices", None) or [None]
    message = getattr(choices[0], "message", None)
    text = getattr(message, "content", None)
    if message is None or not isinstance(text, str | None):
        raise ValueError("the reply holds no choices with a message")
    used = getattr(getattr(reply, "usage", None), "total_tokens", None)
    if not isinstance(used, int):  # about four characters a token
        used = (sum(len(m["content"]) for m in messages) + len(text or "")) // 4
    return Answer(text or "", choices[0].finish_reason != "length", used)


class LocalWriter:
    """A Hugging Face folder with a chat template, which decodes greedily. Small models find no form
    by themselves: the answer is begun for them, and closed where they first would."""

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

    def ask(self, messages: Messages, form: Form, max_answer_tokens: int) -> Answer:
        text = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        begins, ends = form
        asked = self._tokenizer(text + begins, add_special_tokens=False, return_tensors="pt")
        n_asked = asked["input_ids"].shape[1]
        written = self._model.generate(
            asked["input_ids"].to(self._device),
            attention_mask=asked["attention_mask"].to(self._device),
            max_new_tokens=max_answer_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=self._tokenizer.eos_token_id,
            stop_strings=[ends[0]],
            tokenizer=self._tokenizer,
        )[0, n_asked:]
        said, closed, _ = str(self._tokenizer.decode(written)).partition(ends[0])
        return Answer(begins + said + ends, bool(closed), n_asked + len(written))
