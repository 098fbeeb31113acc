"""Scores of a sentence: balanced accuracy, the area under the curve, and their intervals."""

from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.explain.scores import (
    ACTIVE,
    NEAR,
    OTHER,
    Judgement,
    auc,
    detection,
    means,
)

FEW = st.lists(st.integers(0, 4), min_size=2, max_size=12)


@given(FEW, FEW, st.floats(0.5, 0.99))
def test_the_area_counts_pairs_and_lies_within_its_interval(
    active: list[int], silent: list[int], confidence: float
) -> None:
    found: Any = auc(np.array(active, float), np.array(silent, float), confidence)
    pairs = [(a > s) + 0.5 * (a == s) for a in active for s in silent]
    assert found["value"] == pytest.approx(np.mean(pairs))
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    mirrored: Any = auc(np.array(silent, float), np.array(active, float), confidence)
    assert mirrored["low"] == pytest.approx(1 - found["high"], abs=1e-9)


@pytest.mark.parametrize("true", [0.5, 0.75, 0.95])
def test_the_interval_holds_the_true_area_as_often_as_it_says(true: float) -> None:
    random, shift = np.random.default_rng(0), NormalDist().inv_cdf(true) * sqrt(2)
    found: list[Any] = [
        auc(random.normal(size=10) + shift, random.normal(size=10), 0.9) for _ in range(400)
    ]
    held = np.mean([one["low"] <= true <= one["high"] for one in found])
    assert 0.86 <= held <= 0.96


def test_perfect_judgement_of_few_examples_is_no_certainty() -> None:
    found: Any = auc(np.arange(10.0) + 10, np.arange(10.0), 0.95)
    assert (found["value"], found["high"]) == (1, 1)
    assert 0.7 < found["low"] < 0.9


def test_a_judge_that_answers_has_an_area_equal_to_its_balanced_accuracy() -> None:
    group = np.repeat([ACTIVE, NEAR, OTHER], [4, 2, 2])
    called = np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
    found = detection(Judgement(called.astype(float), called), group, 0.95)
    assert found["score"] == found["auc"]["value"] == 0.75
    assert (found["n_found"], found["n_near_called"], found["n_other_called"]) == (3, 1, 0)


def one(own: float, control: float | None) -> Any:
    def scored(area: float) -> dict[str, Any]:
        return {"score": area, "auc": {"value": area, "low": 0, "high": 1}}

    return {"detection": scored(own), "control": None if control is None else scored(control)}


def test_means_compare_a_sentence_with_anothers_on_the_same_examples() -> None:
    nothing = {"detection": None, "control": None}
    found: Any = means([one(0.9, 0.5), one(0.7, 0.5), one(0.8, None), nothing], 0.95)  # type: ignore[list-item]
    assert (found["n_scored"], found["n_controls"]) == (3, 2)
    assert found["auc"]["value"] == pytest.approx(0.8)
    assert found["auc_above_control"]["value"] == pytest.approx(0.3)
    assert found["auc_above_control"]["low"] < 0.3 < found["auc_above_control"]["high"]
    alone: Any = means([one(0.9, None)], 0.95)
    assert (alone["auc"]["value"], alone["auc"]["low"]) == (0.9, None)
    assert means([], 0.95)["auc"]["value"] is None
