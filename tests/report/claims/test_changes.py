"""What an entry of the list says in words."""

from typing import Any, cast

import pytest

from pipeline.analysis.changes.result import Change
from pipeline.report.claims.changes import says, weighs
from tests.report.change_lists import one_change


def said(**fields: Any) -> str:
    return says(cast(Change, {**one_change(1, "weaker", "text"), **fields}))


def broad(**fields: Any) -> str:
    return said(broad=True, rate=1.0, **fields)


def test_a_change_on_few_rows_is_told_with_its_share_of_the_tokens() -> None:
    assert said(broad=False, rate=0.02).startswith("On 2.0% of the tokens")


@pytest.mark.parametrize(
    ("beta", "ratio"), [(-10.0, "0.9"), (2.0, "1.5"), (-1.0, "0"), (-0.5, "-1")]
)
def test_a_broad_change_says_how_much_of_base_s_own_the_other_model_writes(
    beta: float, ratio: str
) -> None:
    text = f"the fine-tuned model writes {ratio} times what the base model writes there."
    assert broad(beta=beta) == f"On every token, along one direction, {text}"


def test_a_broad_change_that_base_has_nothing_of_is_something_of_its_own() -> None:
    assert "that the base model does not have" in broad(kind="new", beta=0.001)


def test_a_broad_change_of_undecided_kind_is_not_told_as_sure() -> None:
    assert "the data do not say how; it looks as if" in broad(kind="undecided", beta=0.27)


def test_a_change_that_brings_distance_is_not_told_as_taking_less_than_nothing() -> None:
    def weight(made: float, undone: float) -> str:
        of = {"made": {"value": made}, "undone": {"value": undone}, "made_random": {"value": -1e-5}}
        return weighs(cast(Change, of))

    assert "it takes 3.0% off the distance (KL)" in weight(0.03, -0.027)
    assert "undone in the fine-tuned model it adds 2.7% to it" in weight(0.03, -0.027)
    assert weight(0.03, -0.027).endswith("(random latents that fire as often: 0.0%).")
