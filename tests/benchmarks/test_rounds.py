"""The orders of rows that the cost of rounds is measured on."""

import numpy as np
import pytest

from benchmarks.rounds.__main__ import compared
from benchmarks.rounds.orders import Arm, order_of, partners

SEQUENCE = np.repeat(np.arange(200, dtype=np.int32), 25)
"""Of each stored row."""


@pytest.mark.parametrize("arm", ["1", "4", "40", "40+0.5"])
def test_every_arm_trains_on_every_row_once_an_epoch(arm: str) -> None:
    order, first = order_of(SEQUENCE, Arm.parse(arm), seed=3, n_epochs=2)
    n = len(SEQUENCE)
    for epoch in (order[:n], order[n:]):
        assert np.array_equal(np.sort(epoch), np.arange(n))
    assert not np.array_equal(order[:n], order[n:])
    assert len(first) == n // Arm.parse(arm).n_rounds


def test_rows_of_a_sequence_meet_oftener_in_rounds_and_carrying_rows_over_helps() -> None:
    met = {
        arm: partners(SEQUENCE[order_of(SEQUENCE, Arm.parse(arm), seed=3, n_epochs=1)[0]], 25)
        for arm in ("1", "10", "10+0.5")
    }
    # (B - 1)(S - 1) / (N - 1), as docs/results.md says, with N the rows of a round
    assert met["1"] == pytest.approx(24 * 24 / 4999, rel=0.1)
    assert met["10"] == pytest.approx(24 * 24 / 499, rel=0.1)
    # with 1 / (1 - c) rounds at hand: (1 - c) / (1 + c) of it, and more at the end of the epoch
    assert met["10+0.5"] == pytest.approx(24 * 24 / 499 / 3, rel=0.25)


def test_differences_are_paired_by_seed() -> None:
    told = compared({"1": [{"fve": 0.9}, {"fve": 0.5}], "4": [{"fve": 0.8}, {"fve": 0.4}]})
    assert told["4"]["fve"]["difference"] == pytest.approx(-0.1)
    assert told["4"]["fve"]["interval"] == pytest.approx([-0.1, -0.1])
