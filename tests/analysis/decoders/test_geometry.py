from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.decoders.geometry import (
    ANTHROPIC,
    CRITERIA,
    MINDER,
    bins_of,
    criterion_counts,
    decoder_geometry,
    histogram,
)


def decoder(norm_base: float, norm_it: float, cosine: float = 1.0) -> np.ndarray:
    """One latent, [1, 2, 2], with these norms and this angle."""
    sine = np.sqrt(1 - cosine**2)
    return np.array([[[norm_base, 0.0], [norm_it * cosine, norm_it * sine]]])


@pytest.mark.parametrize(
    ("norm_base", "norm_it", "r", "delta"),
    [
        (1.0, 1.0, 0.5, 0.5),
        (0.0, 2.0, 1.0, 1.0),
        (3.0, 0.0, 0.0, 0.0),
        (1.0, 5.0, 5 / 6, 0.9),
        (1.0, 19.0, 0.95, 0.5 + 9 / 19),
        (0.0, 0.0, 0.5, 0.5),
    ],
)
def test_relative_norm_and_delta_by_hand(
    norm_base: float, norm_it: float, r: float, delta: float
) -> None:
    geometry = decoder_geometry(decoder(norm_base, norm_it))
    assert geometry.relative_norm == pytest.approx([r])
    assert geometry.delta == pytest.approx([delta])


def test_cosine_is_that_of_the_two_decoders_and_zero_for_a_vanished_one() -> None:
    W = np.concatenate([decoder(2.0, 3.0, -0.25), decoder(2.0, 0.0)])
    assert decoder_geometry(W).cosine == pytest.approx([-0.25, 0.0])


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_criterion_on_r_is_minders_on_delta(norm_base: float, norm_it: float) -> None:
    geometry = decoder_geometry(decoder(norm_base, norm_it))
    if abs(geometry.delta[0] - 0.9) > 1e-9 and abs(geometry.delta[0] - 0.1) > 1e-9:
        assert (geometry.relative_norm > MINDER.high) == (geometry.delta > 0.9)
        assert (geometry.relative_norm < MINDER.low) == (geometry.delta < 0.1)


@given(st.lists(st.floats(0, 1), max_size=50))
def test_every_latent_is_counted_once_under_every_criterion(values: list[float]) -> None:
    for criterion in CRITERIA:
        assert sum(cast(Any, criterion_counts(np.array(values), criterion)).values()) == len(values)


def test_counts_under_the_strict_criterion() -> None:
    r = np.array([0.01, 0.049, 0.05, 0.5, 0.95, 0.951, 1.0])
    assert criterion_counts(r, ANTHROPIC) == {"base_only": 2, "it_only": 2, "between": 3}


def test_dead_comes_before_every_other_bin() -> None:
    r = np.array([0.0, 0.2, 0.5, 1.0, 1.0])
    live = np.array([True, True, True, True, False])
    assert bins_of(r, live).tolist() == ["base_only", "between", "shared", "it_only", "dead"]


@given(st.lists(st.floats(-1.5, 1.5), max_size=60))
def test_a_histogram_loses_no_value(values: list[float]) -> None:
    table = histogram(np.array(values), n_bins=7, low=-1.0, high=1.0)
    assert sum(table["count"]) == len(values)
    assert (table["low"][0], table["high"][-1]) == (-1.0, 1.0)
