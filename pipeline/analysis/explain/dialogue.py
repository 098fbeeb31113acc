"""Requests and answers, kept in a file of JSON lines: what was answered is never asked again."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.analysis.explain.asking import AGAIN, Messages
from pipeline.analysis.explain.writers import Answer, Writer
from pipeline.artifacts import canonical_json
from pipeline.interruption import Interrupted

T = TypeVar("T")


class LimitReachedError(Exception):
    """A further request would go beyond what one run may ask. Says which limit."""


class Transcript:
    """The file. Each line holds a key, the request and the answer; a line that was cut off by the
    end of a run is taken away, so that the next one stands by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            path.write_bytes(whole)
        lines = [json.loads(line) for line in whole.splitlines()]
        self._answers = {line["key"]: Answer(**line["answer"]) for line in lines}

    def find(self, key: str) -> Answer | None:
        return self._answers.get(key)

    def keep(self, key: str, request: dict[str, Any], answer: Answer) -> None:
        line = {"key": key, "request": request, "answer": asdict(answer)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._answers[key] = answer


@dataclass
class Dialogue:
    """Asks a writer within the limits of one run.

    n_requests, n_asked_tokens: new in this run; n_answers, n_tokens: of all answers that were used,
    new or kept
    """

    writer: Writer
    transcript: Transcript
    n_attempts: int
    max_answer_tokens: int
    max_requests: int
    max_tokens: int
    n_requests: int = field(default=0, init=False)
    n_asked_tokens: int = field(default=0, init=False)
    n_answers: int = field(default=0, init=False)
    n_tokens: int = field(default=0, init=False)

    def ask(self, messages: Messages, read: Callable[[str], T | None]) -> T | None:
        """What `read` makes of the answer. One that was cut or has another form is told so,
        `n_attempts` times in all; then None. Raises LimitReachedError, EndpointError."""
        for _ in range(self.n_attempts):
            request = {"messages": messages, "max_answer_tokens": self.max_answer_tokens}
            ask = partial(self.writer.ask, messages, self.max_answer_tokens)
            answer = self.answer(request, ask)
            found = read(answer.text) if answer.is_whole else None
            if found is not None:
                return found
            said = {"role": "assistant", "content": answer.text}
            messages = [*messages, said, {"role": "user", "content": AGAIN}]
        return None

    def answer(self, request: dict[str, Any], ask: Callable[[], Answer]) -> Answer:
        """The answer that was kept for the request, or what `ask` gives."""
        request = {"writer": self.writer.identity, **request}
        key = hashlib.sha256(canonical_json(request)).hexdigest()
        answer = self.transcript.find(key)
        if answer is None:
            answer = self._asked(ask)
            self.transcript.keep(key, request, answer)
        self.n_answers += 1
        self.n_tokens += answer.n_tokens
        return answer

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        if self.n_requests >= self.max_requests:
            raise LimitReachedError(f"explain.max_requests ({self.max_requests}) is reached")
        if self.n_asked_tokens >= self.max_tokens:
            raise LimitReachedError(f"explain.max_tokens ({self.max_tokens:,}) is reached")
        self.n_requests += 1
        try:
            answer = ask()
        except Interrupted as stopped:
            stopped.kept.append(self.transcript.path)
            raise
        self.n_asked_tokens += answer.n_tokens
        return answer
