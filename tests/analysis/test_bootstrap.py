import numpy as np
import pytest

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.results import NOT_MEASURED


def bootstrap(n_units: int, seed: int = 0) -> Bootstrap:
    return Bootstrap(n_units, n_resamples=400, confidence=0.95, random=np.random.default_rng(seed))


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    found = bootstrap(2).ratio(np.array([1.0, 9.0]), np.array([1.0, 3.0]))
    assert found["value"] == pytest.approx(2.5)


def test_equal_units_have_an_interval_of_width_zero() -> None:
    found = bootstrap(8).ratio(np.full(8, 3.0), np.full(8, 4.0))
    assert list(found.values()) == pytest.approx([0.75, 0.75, 0.75])


def test_what_is_not_defined_is_none_not_nan() -> None:
    assert bootstrap(3).ratio(np.zeros(3), np.zeros(3)) == NOT_MEASURED


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(100):
        units = random.normal(2.0, 1.0, size=60)
        found = bootstrap(60, trial).ratio(units, np.ones(60))
        assert found["low"] is not None
        assert found["high"] is not None
        covered += found["low"] <= 2.0 <= found["high"]
    assert 85 <= covered <= 100
