"""The choice of examples, and a sentence from its request to its score."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.analysis.explain.asked import explain_line
from pipeline.analysis.explain.asking import Messages
from pipeline.analysis.explain.dialogue import Dialogue, Transcript
from pipeline.analysis.explain.examples import Ints, choose
from pipeline.analysis.explain.result import Explanation
from pipeline.analysis.explain.run import NO_ANSWER, TOO_FEW, Case, Subject, explain_all
from pipeline.analysis.explain.ways import ByLikelihood, InAnswers
from pipeline.analysis.explain.writers import Answer
from pipeline.config import compose

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


class Answers:
    """A writer that says that it is active on token 3, or judges by the sentence."""

    name, identity = "one", {"kind": "test"}

    def __init__(self, judges: bool = True) -> None:
        self.asked, self._judges = list[Messages](), judges

    def ask(self, messages: Messages, max_answer_tokens: int) -> Answer:
        del max_answer_tokens
        self.asked.append(messages)
        request = json.loads(messages[1]["content"])
        if "sentence" not in request:
            token = request["excerpts"][0]
            return Answer(json.dumps({"explanation": f"the token is {token}"}), True, 10)
        token = request["sentence"].split()[-1]
        active = [int(n) for n, text in request["excerpts"].items() if text == token]
        return Answer(json.dumps({"active": active}) if self._judges else "?", True, 10)


class Odds(Answers):
    """A weak one: it writes on and on, would say yes to all, and has an inkling of token 3."""

    def ask(self, messages: Messages, max_answer_tokens: int) -> Answer:
        self.asked.append(messages)
        return Answer("The marked words are 3. The marked words are 3. The", True, 10)

    def odds(self, requests: Sequence[Messages]) -> Answer:
        odds = [4.5 + ("<<3>>" in messages[0]["content"]) for messages in requests]
        return Answer(json.dumps(odds), True, 10 * len(requests))


def texts(rows: Ints) -> list[str]:
    return [f"<<{TOKEN[row]}>>" for row in rows]


def case(number: int, activity: NDArray[Any]) -> Case:
    random = np.random.default_rng(0)
    chosen = choose(activity, COLUMNS, n_shown=6, n_judged=20, random=random)
    n = len(chosen.active) + len(chosen.near) + len(chosen.other) if chosen else 0
    return Case(Subject("change", number, 0, ["a"]), chosen, random.permutation(n))


def talk(path: Path, writer: Any, **limits: int) -> Dialogue:
    given_limits = {"max_requests": 9, "max_tokens": 999} | limits
    return Dialogue(writer, Transcript(path / "talk.jsonl"), 2, 50, **given_limits)


def explained(
    path: Path, writer: Any, *activities: NDArray[Any], **limits: int
) -> list[Explanation]:
    dialogue = talk(path, writer, **limits)
    way = ByLikelihood(dialogue, writer) if isinstance(writer, Odds) else InAnswers(dialogue)
    cases = [case(number, activity) for number, activity in enumerate(activities)]
    return explain_all(cases, texts, way, 0.95)


def test_a_sentence_that_names_the_token_alone_fails_on_the_near_misses(tmp_path: Path) -> None:
    """Half of the silent examples are near misses, so its score is 0.75."""
    writer = Answers()
    (found,) = explained(tmp_path, writer, ACTIVITY)
    assert found["explanation"] == "the token is <<3>>"
    assert found["reason"] == ""
    detection = found["detection"]
    assert detection is not None
    assert detection["n_found"] == detection["n_active"] == 10
    assert detection["n_near_called"] == detection["n_near"] == 5
    assert detection["n_other_called"] < detection["n_other"] == 5
    assert detection["score"] == pytest.approx(0.75, abs=0.06)
    shown = json.loads(writer.asked[0][1]["content"])
    assert shown["excerpts"] == ["<<3>>"] * 6
    assert shown["tokens_made_more_likely"] == ["a"]
    assert found["control"] is None


def test_the_control_is_anothers_sentence_on_the_same_examples(tmp_path: Path) -> None:
    """Of the token 4, of which no example of the first is."""
    other = np.where((TOKEN == 4) & (DOCUMENT % 3 > 0), 1 + np.arange(N) / N, 0)
    first, second = explained(tmp_path, Answers(), ACTIVITY, other)
    for one in (first, second):
        assert one["detection"] is not None
        assert one["control"] is not None
        assert one["control"]["n_active"] == one["detection"]["n_active"]
        assert one["control"]["n_found"] == one["control"]["n_near_called"] == 0
        assert one["control"]["score"] <= 0.5 < one["detection"]["score"]


def test_a_model_that_says_yes_to_all_is_scored_by_how_surely(tmp_path: Path) -> None:
    (found,) = explained(tmp_path, Odds(), ACTIVITY)
    assert found["explanation"] == "The marked words are 3."
    detection = found["detection"]
    assert detection is not None
    assert detection["auc"]["value"] == pytest.approx(0.75, abs=0.06)
    n_called = sum(detection[n] for n in ("n_found", "n_near_called", "n_other_called"))  # type: ignore[literal-required]
    assert n_called == detection["n_active"]
    again = Odds()
    assert explained(tmp_path, again, ACTIVITY) == [found]
    assert not again.asked


def test_two_subjects_of_one_sentence_are_no_control_of_each_other(tmp_path: Path) -> None:
    for one in explained(tmp_path, Odds(), ACTIVITY, np.roll(ACTIVITY, 60)):
        assert one["detection"] is not None
        assert one["control"] is None


def test_why_there_is_no_sentence_or_no_score_is_told(tmp_path: Path) -> None:
    (silent,) = explained(tmp_path / "a", Answers(), np.zeros(N))
    assert (silent["explanation"], silent["reason"]) == (None, TOO_FEW)
    (unjudged,) = explained(tmp_path / "b", Answers(judges=False), ACTIVITY)
    assert unjudged["explanation"] == "the token is <<3>>"
    assert (unjudged["detection"], unjudged["reason"]) == (None, NO_ANSWER)
    (limited,) = explained(tmp_path / "c", Answers(), ACTIVITY, max_requests=1)
    assert limited["explanation"] == "the token is <<3>>"
    assert "explain.max_requests (1) is reached" in limited["reason"]


def test_the_plan_tells_what_would_be_asked_and_of_whom() -> None:
    assert explain_line(compose(["+experiment=tiny"]).explain) is None
    asked = ["+experiment=tiny", "explain/writer=endpoint", "explain.n_changes=3"]
    config = compose([*asked, "explain.max_tokens=100"])
    line = explain_line(config.explain)
    assert line is not None
    assert "about 9 requests and at most about 100 tokens" in line
    assert "EXPLAIN_BASE_URL" in line
