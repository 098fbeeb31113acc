import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.student import SMALLEST, upper_tail


def tail(t: float, degrees: float) -> float:
    return float(upper_tail(np.array([t]), np.array([degrees]))[0])


@pytest.mark.parametrize(
    ("degrees", "quantile", "expected"),
    [
        (1, 12.7062, 0.025),
        (2, 4.30265, 0.025),
        (5, 3.36493, 0.01),
        (10, 1.81246, 0.05),
        (30, 2.45726, 0.01),
        (120, 3.15954, 0.001),
    ],
)
def test_tails_agree_with_the_printed_tables(
    degrees: int, quantile: float, expected: float
) -> None:
    assert tail(quantile, degrees) == pytest.approx(expected, rel=2e-5)


@given(st.floats(-50, 50))
def test_one_and_two_degrees_have_their_closed_forms(t: float) -> None:
    assert tail(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, rel=1e-9, abs=1e-15)
    exact = 1 / (2 + t * t + abs(t) * math.sqrt(2 + t * t))
    assert tail(t, 2) == pytest.approx(exact if t >= 0 else 1 - exact, rel=1e-9)


@given(st.floats(-1e6, 1e6), st.floats(0.5, 1023))
def test_tails_are_shares_that_mirror_each_other(t: float, degrees: float) -> None:
    assert SMALLEST <= tail(t, degrees) <= 1
    assert tail(t, degrees) + tail(-t, degrees) == pytest.approx(1, abs=1e-12)


def test_many_degrees_approach_the_normal_and_nothing_is_ever_zero() -> None:
    assert tail(2.0, 1e7) == pytest.approx(0.5 * math.erfc(2 / math.sqrt(2)), rel=1e-5)
    assert tail(math.inf, 3) == SMALLEST
    assert tail(-math.inf, 3) == 1
    assert np.isnan(tail(math.nan, 3))
    assert np.isnan(tail(1.0, 0))
