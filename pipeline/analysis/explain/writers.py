"""Who is asked, and the OpenAI-compatible endpoint that the environment names."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.analysis.explain.asking import Messages
from pipeline.errors import ConfigError, EndpointError

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
    """A model that answers. name: for people; identity: what an answer depends on besides the
    request."""

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> dict[str, Any]: ...
    def ask(self, messages: Messages, max_answer_tokens: int) -> Answer: ...


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

    def ask(self, messages: Messages, max_answer_tokens: int) -> Answer:
        """The model's answer. Raises EndpointError where there is none."""
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
