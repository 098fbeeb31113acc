"""The choice of examples, and a sentence from its request to its score."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.analysis.explain.asking import Form, Messages
from pipeline.analysis.explain.dialogue import Dialogue, Transcript
from pipeline.analysis.explain.examples import choose
from pipeline.analysis.explain.run import NO_ANSWER, TOO_FEW, Subject, explain_one
from pipeline.analysis.explain.writers import Answer
from pipeline.config import compose
from pipeline.planning import explain_line

N = 600
DOCUMENT = np.arange(N) // 6
TOKEN = np.random.default_rng(1).integers(0, 12, N)
COLUMNS = {"document": DOCUMENT, "token_id": TOKEN}
ACTIVITY = np.where((TOKEN == 3) & (DOCUMENT % 3 > 0), 1 + np.arange(N) / N, 0)


@given(st.integers(2, 20), st.integers(4, 40), st.integers(0, 99))
def test_judged_rows_are_of_other_documents_balanced_and_half_of_the_silent_ones_near_misses(
    n_shown: int, n_judged: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    found = choose(ACTIVITY, COLUMNS, n_shown=n_shown, n_judged=n_judged, random=random)
    assert found is not None
    assert (ACTIVITY[np.concatenate([found.shown, found.active])] > 0).all()
    assert (ACTIVITY[np.concatenate([found.near, found.other])] == 0).all()
    assert (DOCUMENT[found.shown] % 2 == 0).all()
    judged = np.concatenate([found.active, found.near, found.other])
    assert (DOCUMENT[judged] % 2 == 1).all()
    assert len(np.unique(judged)) == len(judged)
    assert len(found.active) == len(found.near) + len(found.other)
    assert (TOKEN[found.near] == 3).all()
    assert len(found.active) <= n_judged // 2
    assert len(found.shown) <= n_shown
    seen = np.flatnonzero((ACTIVITY > 0) & (DOCUMENT % 2 == 0))
    assert found.shown[0] == seen[ACTIVITY[seen].argmax()]


def test_what_is_active_in_too_few_documents_is_not_asked_about() -> None:
    activity = np.where(DOCUMENT == 5, 1.0, 0.0)
    random = np.random.default_rng(0)
    assert choose(activity, COLUMNS, n_shown=4, n_judged=8, random=random) is None


class Writes:
    """A writer that says that it is active on token 3, or judges by the sentence."""

    name, identity = "one", {"kind": "test"}

    def __init__(self, judges: bool = True) -> None:
        self.asked, self._judges = list[Messages](), judges

    def ask(self, messages: Messages, form: Form, max_answer_tokens: int) -> Answer:
        del form, max_answer_tokens
        self.asked.append(messages)
        request = json.loads(messages[1]["content"])
        if "sentence" not in request:
            return Answer('{"explanation": "the token is 3"}', True, 10)
        active = [int(n) for n, text in request["excerpts"].items() if text == "<<3>>"]
        return Answer(json.dumps({"active": active}) if self._judges else "?", True, 10)


def texts(rows: NDArray[np.int64]) -> list[str]:
    return [f"<<{TOKEN[row]}>>" for row in rows]


def explained(path: Path, writer: Any, activity: NDArray[Any] = ACTIVITY, **limits: int) -> Any:
    random = np.random.default_rng(0)
    chosen = choose(activity, COLUMNS, n_shown=6, n_judged=20, random=random)
    given_limits = {"max_requests": 9, "max_tokens": 999} | limits
    talk = Dialogue(writer, Transcript(path / "talk.jsonl"), 2, 50, **given_limits)
    return explain_one(Subject("change", 1, 0, ["a"]), chosen, texts, talk, random)


def test_a_sentence_that_names_the_token_alone_fails_on_the_near_misses(tmp_path: Path) -> None:
    """Half of the silent examples are near misses, so its score is 0.75."""
    writer = Writes()
    found = explained(tmp_path, writer)
    assert found["explanation"] == "the token is 3"
    assert found["reason"] == ""
    detection = found["detection"]
    assert detection["n_found"] == detection["n_active"] == 10
    assert detection["n_near_called"] == detection["n_near"] == 5
    assert detection["n_other_called"] < detection["n_other"] == 5
    assert detection["score"] == pytest.approx(0.75, abs=0.06)
    shown = json.loads(writer.asked[0][1]["content"])
    assert shown["excerpts"] == ["<<3>>"] * 6
    assert shown["tokens_made_more_likely"] == ["a"]


def test_why_there_is_no_sentence_or_no_score_is_told(tmp_path: Path) -> None:
    silent = explained(tmp_path / "a", Writes(), np.zeros(N))
    assert (silent["explanation"], silent["reason"]) == (None, TOO_FEW)
    unjudged = explained(tmp_path / "b", Writes(judges=False))
    assert unjudged["explanation"] == "the token is 3"
    assert (unjudged["detection"], unjudged["reason"]) == (None, NO_ANSWER)
    limited = explained(tmp_path / "c", Writes(), max_requests=1)
    assert limited["explanation"] == "the token is 3"
    assert "explain.max_requests (1) is reached" in limited["reason"]


def test_the_plan_tells_what_would_be_asked_and_of_whom() -> None:
    assert explain_line(compose(["+experiment=tiny"])) is None
    asked = ["+experiment=tiny", "explain/writer=endpoint", "explain.n_changes=3"]
    config = compose([*asked, "explain.max_tokens=100"])
    line = explain_line(config)
    assert line is not None
    assert "about 6 requests and at most about 100 tokens" in line
    assert "EXPLAIN_BASE_URL" in line
