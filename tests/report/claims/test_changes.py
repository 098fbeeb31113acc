"""What an entry of the list says in words."""

from typing import Any, cast

import pytest

from pipeline.analysis.changes.result import Change
from pipeline.report.claims.changes import says, weighs
from tests.report.change_lists import one_change

MIN_COMMON = 0.5


def said(**fields: Any) -> str:
    return says(cast(Change, {**one_change(1, "weaker", "text"), **fields}), MIN_COMMON)


def along(**fields: Any) -> str:
    """Of rows that have nothing in common but the change."""
    return said(**{"common": 0.1, **fields})


def test_a_change_on_few_rows_is_told_with_its_share_of_the_tokens() -> None:
    assert said(broad=False, rate=0.02).startswith("On 2.0% of the tokens")


@pytest.mark.parametrize(
    ("beta", "wrote"),
    [
        (-10.0, "0.9 times what the base model writes there"),
        (2.0, "1.5 times what the base model writes there"),
        (-1.0, "0 times what the base model writes there"),
        (-0.5, "the opposite of what the base model writes there, 1 times as strongly"),
    ],
)
def test_a_change_on_every_token_says_how_much_of_base_s_own_the_other_model_writes(
    beta: float, wrote: str
) -> None:
    told = along(broad=True, beta=beta)
    assert told == f"On every token, along one direction, the fine-tuned model writes {wrote}."


@pytest.mark.parametrize("broad", [False, True])
def test_the_words_of_a_kind_have_the_figures_that_decided_it(broad: bool) -> None:
    """Both models write much besides on rows with little in common: its strength says nothing."""
    figures: Any = {"strength_ratio": {"value": 0.997}, "beta": 1.45, "kind": "stronger"}
    assert "writes 1.69 times what" in said(common=0.49, broad=broad, **figures)
    assert "0.997 times as strongly" in said(common=0.51, broad=broad, **figures)


def test_a_change_that_base_has_nothing_of_is_something_of_its_own() -> None:
    told = along(broad=True, kind="new", beta=0.001)
    assert told == (
        "On every token the fine-tuned model writes something that the base model does not have."
    )


def test_a_change_of_undecided_kind_is_not_told_as_sure() -> None:
    figures: Any = {"kind": "undecided", "likely_kind": "stronger", "beta": 0.25}
    assert "the data do not say how; it looks stronger: along one direction" in along(**figures)
    assert "the data do not say how; it looks stronger: cosine 0.50" in said(**figures)


def test_a_change_that_brings_distance_is_not_told_as_taking_less_than_nothing() -> None:
    def weight(made: float, undone: float) -> str:
        of = {"made": {"value": made}, "undone": {"value": undone}, "made_random": {"value": -1e-5}}
        return weighs(cast(Change, of))

    assert "it takes 3.0% off the distance (KL)" in weight(0.03, -0.027)
    assert "undone in the fine-tuned model it adds 2.7% to it" in weight(0.03, -0.027)
    assert weight(0.03, -0.027).endswith("(random latents that fire as often: 0.0%).")
