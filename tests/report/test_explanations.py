"""What the page says of sentences in words: never more than their scores carry."""

from typing import Any

from pipeline.analysis.explain.result import Explanation, Means
from pipeline.report.sections.explanations import outcome, table, tells
from pipeline.results import Measured


def figure(value: float, half: float) -> Measured:
    return {"value": value, "low": value - half, "high": value + half}


def scored(value: float, half: float, control: float | None = 0.5) -> Explanation:
    counts = dict.fromkeys(
        ("n_active", "n_found", "n_near", "n_near_called", "n_other", "n_other_called"), 2
    )

    def detection(auc: float) -> Any:
        return {"score": 0.7, "auc": figure(auc, half), **counts}

    return {
        "kind": "change",
        "number": 1,
        "explanation": "greetings",
        "detection": detection(value),
        "control": None if control is None else detection(control),
        "reason": "",
    }


def means(own: float, above: float, half: float) -> Means:
    return {
        "n_scored": 6,
        "score": figure(0.7, half),
        "auc": figure(own, half),
        "n_controls": 6,
        "control_score": figure(0.5, half),
        "control_auc": figure(own - above, half),
        "auc_above_control": figure(above, half),
    }


def test_a_sentence_that_tells_nothing_is_said_to() -> None:
    assert tells(scored(0.6, 0.2)) == (
        "on unseen text no better than chance: AUC 0.60 (0.40 to 0.80)"
    )
    assert (
        tells(scored(0.8, 0.2)) == "AUC on unseen text 0.80 (0.60 to 1.00), another’s sentence 0.50"
    )
    assert tells(scored(0.8, 0.2, None)) == "AUC on unseen text 0.80 (0.60 to 1.00)"


def test_sentences_that_do_no_better_than_anothers_are_not_to_be_relied_on() -> None:
    weak = outcome(means(0.8, 0.1, 0.15))
    assert "0.10 (-0.05 to 0.25), is not surely above 0, so do not rely" in weak
    strong = outcome(means(0.8, 0.3, 0.1))
    assert strong.endswith("the sentences tell more than another one does.")
    assert "mean area is 0.80 (0.70 to 0.90)" in strong


def test_each_row_has_the_score_beside_that_of_anothers_sentence() -> None:
    (row,) = table([scored(0.8, 0.2)]).rows
    assert [cell.text for cell in row.cells] == [
        *("greetings", "0.80", "0.70", "0.50"),
        *("2 of 2", "2 of 2", "2 of 2"),
    ]
    none: Explanation = {
        **scored(0.8, 0.2),
        "explanation": None,
        "detection": None,
        "control": None,
        "reason": "too few",
    }
    assert [cell.text for cell in table([none]).rows[0].cells] == ["none: too few", *["–"] * 6]
