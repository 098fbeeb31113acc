"""Lists against known effects, by hand."""

import torch
from torch import Tensor

from pipeline.analysis.edits.effects import Truth
from pipeline.analysis.edits.score import Entry, match, score

ROWS = torch.arange(12)
ALONG, ACROSS, OTHER = torch.eye(4)[0], torch.eye(4)[1], torch.eye(4)[2]


def effect(rows: range, direction_D: Tensor, size: float = 1.0) -> Tensor:
    on = torch.zeros(len(ROWS))
    on[list(rows)] = size
    return on[:, None] * direction_D


def truth(name: str, effect_TD: Tensor, direction_D: Tensor, kind: str = "new") -> Truth:
    square = float(effect_TD.square().sum())
    return Truth(name, effect_TD, 0.1, direction_D, square, kind, margin=1.0)


def entry(effect_TD: Tensor, direction_D: Tensor, kind: str = "new") -> Entry:
    return Entry(direction_D, effect_TD @ direction_D, kind)


FIRST, SECOND = effect(range(4), ALONG), effect(range(4, 8), ACROSS)
TRUTHS = [truth("first", FIRST, ALONG), truth("second", SECOND, ACROSS, "lost")]
DIFFERENCE = FIRST + SECOND + effect(range(8, 12), OTHER)


def test_an_entry_with_the_rows_and_direction_of_an_edit_names_it_once() -> None:
    again = match([entry(FIRST, ALONG), entry(FIRST, ALONG)], TRUTHS, DIFFERENCE)
    assert [(found.edit, found.is_new) for found in again] == [(0, True), (0, False)]


def test_an_entry_on_other_rows_and_in_another_direction_is_false() -> None:
    elsewhere = entry(effect(range(8, 12), OTHER), OTHER)
    assert [found.edit for found in match([elsewhere], TRUTHS, DIFFERENCE)] == [-1]


def test_a_part_of_an_edit_is_a_duplicate_and_not_false() -> None:
    part = match([entry(effect(range(1), ALONG, 0.2), ALONG)], TRUTHS, DIFFERENCE)
    figures = score(
        match([entry(FIRST, ALONG), entry(effect(range(1), ALONG), ALONG)], TRUTHS, DIFFERENCE),
        TRUTHS,
        [0, 1],
        0.1,
    )
    assert part[0].edit == 0
    assert (figures["false"], figures["duplicates"], figures["recovered"]) == (0, 1, 1)


def test_edits_are_counted_among_the_first_entries_and_kinds_among_named_edits() -> None:
    noise = entry(effect(range(8, 12), OTHER), OTHER)
    listed = [entry(FIRST, ALONG), noise, noise, entry(SECOND, ACROSS, "undecided")]
    figures = score(match(listed, TRUTHS, DIFFERENCE), TRUTHS, [0, 1], 0.1)
    assert (figures["recovered_n"], figures["recovered_more"], figures["recovered"]) == (1, 1, 2)
    assert (figures["kinds_right"], figures["kinds_undecided"], figures["kinds_judged"]) == (
        1,
        1,
        2,
    )
    assert figures["false"] == 2


def test_small_edits_count_neither_way() -> None:
    figures = score(match([entry(FIRST, ALONG)], TRUTHS, DIFFERENCE), TRUTHS, [1], 0.1)
    assert (figures["n"], figures["recovered"], figures["false"]) == (1, 0, 0)
