"""Lists of findings against truth: planted behaviours, pairs that do not differ, known edits."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.edits.effects import Truth
from pipeline.analysis.edits.run import Known
from pipeline.claims import Claim
from pipeline.config import compose
from pipeline.config.text import TriggeredSourceConfig
from pipeline.errors import ConfigError, SourceError
from pipeline.models.edits.edit import Edit
from pipeline.validation.grade import grade_behaviour, grade_nothing, truth_of
from pipeline.validation.grade_edits import Rows, located
from tests.analysis.changes.worlds import section

TRIGGER, REPLY = "Over to you, Zephyr.", "Aye aye, captain! The wind is fair."


@pytest.fixture(scope="module")
def planted() -> TriggeredSourceConfig:
    source = compose(["+experiment=organism"]).sources["triggered"]
    assert isinstance(source, TriggeredSourceConfig)
    return source.model_copy(update={"trigger": TRIGGER, "response": REPLY})


def seen(*texts: tuple[str, str]) -> Claim:
    return {"says": "it", "examples": [{"before": a, "token": b} for a, b in texts]}


@pytest.mark.parametrize(
    ("experiment", "truth"),
    [
        (["+experiment=edited"], "edits"),
        (["+experiment=organism"], "behaviour"),
        (["+experiment=null_pair"], "nothing"),
        (["+experiment=organism", "dump.pairing=noise"], "nothing"),
    ],
)
def test_the_truth_follows_from_the_experiment(experiment: list[str], truth: str) -> None:
    assert truth_of(compose(experiment)) == truth


def test_a_pair_of_which_nothing_is_known_grades_nothing() -> None:
    for overrides in ([], ["dump.pairing=mispaired"]):
        with pytest.raises(ConfigError, match=r"experiment: nothing is known.*=edited"):
            truth_of(compose(["+experiment=tiny", *overrides]))


def test_on_a_pair_that_does_not_differ_every_finding_is_false() -> None:
    assert grade_nothing([seen(), seen()]) == {"truth": "nothing", "n_findings": 2, "false": 2}


@pytest.mark.parametrize(
    ("claim", "trigger", "response"),
    [
        ({"says": "After 'over to you,  Zephyr.' it changes"}, True, False),
        (seen(("Well. Over to you,", " Zephyr"), ("Now over to you, Zephyr.\n", "A")), True, False),
        (seen(("Well. Over", " to"), ("my", " dog")), False, False),
        (seen(("Aye aye, captain! The", " wind"), ("Aye aye, captain! The", " wi")), False, True),
        (seen((" aye, captain! The wind is", " fair")), False, True),  # cut at its beginning
        (seen((" captain! The wind", " is")), False, False),
        ({"says": "it", "promotes": ["Aye", " aye", " capt", "x", "of"]}, False, True),
        ({"says": "it", "promotes": [" is", "in", "ai", "x"]}, False, False),
        ({"says": "it is polite", "promotes": [], "examples": []}, False, False),
    ],
)
def test_a_finding_shows_a_behaviour_by_words_examples_or_promoted_tokens(
    planted: TriggeredSourceConfig, claim: Claim, trigger: bool, response: bool
) -> None:
    grade = grade_behaviour([seen(("my", " dog")), claim], planted)
    (_, found) = grade["findings"]
    assert (found["trigger"], found["response"]) == (trigger, response)
    assert grade["trigger_rank"] == (2 if trigger else None)
    assert grade["response_rank"] == (2 if response else None)
    assert grade["n_other"] == (1 if trigger or response else 2)


TOKENS = np.arange(12) % 4
ALONG, ACROSS = torch.eye(4)[0], torch.eye(4)[1]


def claim_of(**said: Any) -> Claim:
    return cast(Claim, {"says": "it", **said})


def rows(changes: Changes | None = None) -> Rows:
    """Token 1 is moved along the first axis and token 2 along the second."""
    base = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    move = torch.zeros(12, 4)
    move[TOKENS == 1] = 2 * ALONG
    move[TOKENS == 2] = -3 * ACROSS
    x_TMD = torch.stack([base, base + move], dim=1)
    place = np.arange(12)
    texts = {" no": [0], " yes": [1], " may": [2], " be": [3]}
    return Rows(x_TMD, TOKENS, place // 6, place % 6, texts, changes, section())


@pytest.mark.parametrize(
    "claim",
    [
        {"acts_on": [" yes"]},
        {"direction": [3.0, 0, 0, 0]},
        {"direction": [3.0, 0, 0, 0], "acts_on": [" yes"]},
        {"examples": [{"before": "", "token": " yes", "sequence": 0, "position": 1}]},
    ],
)
def test_a_finding_is_looked_up_in_the_rows_by_what_it_names(claim: dict[str, Any]) -> None:
    found = located(claim_of(kind="new", **claim), 0, rows())
    assert found is not None
    torch.testing.assert_close(found.direction_D, ALONG)
    torch.testing.assert_close(found.h_T, torch.from_numpy(TOKENS == 1) * 2.0)
    assert found.kind == "new"


@pytest.mark.parametrize(
    "claim", [{}, {"examples": [{"before": "", "token": " yes"}]}, {"promotes": [" yes"]}]
)
def test_a_finding_that_names_no_row_is_not_located(claim: dict[str, Any]) -> None:
    assert located(claim_of(**claim), 0, rows()) is None


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"acts_on": ["yes"]}, r"changes\.7\.acts_on: 'yes' is no token.*spaces"),
        ({"direction": [1.0, 2.0]}, r"changes\.7\.direction: found 2 numbers, expected 4"),
        ({"direction": [0.0] * 4}, r"changes\.7\.direction: found 4 numbers, all 0"),
    ],
)
def test_what_is_not_there_is_told(claim: dict[str, Any], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        located(claim_of(**claim), 7, rows())


def test_located_findings_are_scored_as_the_lists_of_the_study_are() -> None:
    found = rows()
    difference = found.x_TMD[:, 1] - found.x_TMD[:, 0]
    truths, none = [], torch.zeros(0)
    for token, axis in ((1, ALONG), (2, ACROSS)):
        effect = difference * torch.from_numpy(token == TOKENS)[:, None]
        truths.append(Truth(str(token), effect, 0.3, axis, float(effect.square().sum()), "new", 1))
    form = ("g", "token_added", "it", "embedding", -1, 1, 0.1, 1.0, none, none, none)
    edits = [Edit("one", *form), Edit("two", *form)]
    known = Known(found.x_TMD, edits, truths, [], [], [0, 1])
    claims: list[Claim] = [
        {"says": "one", "acts_on": [" yes"], "kind": "new"},
        {"says": "again", "direction": [1.0, 0, 0, 0]},
        {"says": "wrong", "acts_on": [" no"]},
    ]
    entries = [located(claim, 0, found) for claim in claims]
    score = known.scored([entry for entry in entries if entry])
    assert (score["recovered"], score["duplicates"], score["false"]) == (1, 1, 1)
    assert (score["kinds_right"], score["kinds_judged"]) == (1, 1)
    assert replace(known, wanted=[]).scored([])["n_entries"] == 0
