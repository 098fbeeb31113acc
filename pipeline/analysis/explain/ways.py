"""The two ways of asking: an endpoint in JSON, a local model in plain text and by its odds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.analysis.explain import asking, plain
from pipeline.analysis.explain.asking import Messages
from pipeline.analysis.explain.dialogue import Dialogue, Transcript
from pipeline.analysis.explain.local import LocalWriter
from pipeline.analysis.explain.scores import Judgement
from pipeline.analysis.explain.writers import Answer, Endpoint, Writer
from pipeline.config.explain import EndpointWriter, ExplainConfig
from pipeline.config.models import LocalModel
from pipeline.paths import located


class Way(Protocol):
    """judged_by: as in Explanations. Both ask through the dialogue, with what it raises."""

    dialogue: Dialogue
    judged_by: str

    def explain(self, excerpts: Sequence[str], promoted: Sequence[str]) -> str | None: ...
    def judge(self, sentence: str, excerpts: Sequence[str], n_active: int) -> Judgement | None: ...


class Grader(Writer, Protocol):
    """A writer whose odds can be read."""

    def odds(self, requests: Sequence[Messages]) -> Answer: ...


class InAnswers:
    """In JSON, of any writer. It names the examples that are active, and so has no odds but two."""

    judged_by = "answers"

    def __init__(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue

    def explain(self, excerpts: Sequence[str], promoted: Sequence[str]) -> str | None:
        request = asking.explain_messages(excerpts, promoted)
        return self.dialogue.ask(request, asking.read_explanation)

    def judge(self, sentence: str, excerpts: Sequence[str], n_active: int) -> Judgement | None:
        """n_active is not used: a judge that answers may call any number."""
        del n_active
        called = self.dialogue.ask(
            asking.judge_messages(sentence, excerpts),
            lambda answer: asking.read_judgement(answer, len(excerpts)),
        )
        if called is None:
            return None
        is_called_E = np.isin(np.arange(1, len(excerpts) + 1), list(called))
        return Judgement(is_called_E.astype(np.float64), is_called_E)


class ByLikelihood:
    """In plain text: the first sentence counts, and of each example the odds of yes against no.

    A small model says yes or no to everything, so the odds have no zero to judge by: as many
    examples as are active are called active, those with the highest odds.
    Sources: detection scores are those of Paulo et al. 2024, arXiv 2410.13928; that a model's
    probability of "true" tells more than what it writes is from Kadavath et al. 2022, 2207.05221.
    """

    judged_by = "likelihood"

    def __init__(self, dialogue: Dialogue, grader: Grader) -> None:
        self.dialogue, self._grader = dialogue, grader

    def explain(self, excerpts: Sequence[str], promoted: Sequence[str]) -> str | None:
        request = plain.explain_messages(excerpts, promoted)
        return self.dialogue.ask(request, plain.first_sentence)

    def judge(self, sentence: str, excerpts: Sequence[str], n_active: int) -> Judgement:
        requests = [plain.judge_messages(sentence, excerpt) for excerpt in excerpts]
        answer = self.dialogue.answer({"odds_of": requests}, lambda: self._grader.odds(requests))
        odds_E = np.array(json.loads(answer.text), dtype=np.float64)
        is_called_E = np.zeros(len(odds_E), dtype=bool)
        is_called_E[np.argsort(-odds_E, kind="stable")[:n_active]] = True
        return Judgement(odds_E, is_called_E)


def way_of(section: ExplainConfig, device: str, transcript: Path) -> Way:
    """How the configured writer is asked. Raises ConfigError where an endpoint is not named, or a
    folder is not there. device: as in runtime.device; transcript: the file of what was answered"""

    def dialogue(writer: Writer) -> Dialogue:
        return Dialogue(
            writer,
            Transcript(transcript),
            section.n_attempts,
            section.max_answer_tokens,
            section.max_requests,
            section.max_tokens,
        )

    match section.writer:
        case EndpointWriter(n_retries=n_retries, timeout_seconds=timeout_seconds):
            return InAnswers(dialogue(Endpoint.from_environment(n_retries, timeout_seconds)))
        case LocalModel(path=path):
            local = LocalWriter(located(path), device)
            return ByLikelihood(dialogue(local), local)
        case _:
            raise AssertionError("nobody is asked")
