import pytest

from pipeline.crosscoder.variant import Moment
from pipeline.training.schedule import learning_rate
from tests.training.planted_rows import train_config


def rates(n_steps: int, **changes: float) -> list[float]:
    config = train_config(learning_rate=1.0, **changes)
    return [learning_rate(config, Moment(step, n_steps)) for step in range(n_steps)]


def test_the_rate_is_constant_then_linear_to_zero_over_the_last_fifth():
    values = rates(10, lr_warmup_steps=0, lr_decay_fraction=0.2)
    assert values == pytest.approx([1.0] * 9 + [0.5])


def test_the_rate_rises_over_the_warm_up():
    values = rates(8, lr_warmup_steps=4, lr_decay_fraction=0.0)
    assert values == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0])


def test_a_ramp_is_zero_at_the_start_and_one_from_its_fraction_on():
    assert [Moment(step, 20).ramp(0.2) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert Moment(0, 20).ramp(0.0) == pytest.approx(1.0)


def test_a_ramp_over_the_whole_run_ends_at_one():
    values = [Moment(step, 5).ramp(1.0) for step in range(5)]
    assert values == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert Moment(0, 1).ramp(1.0) == pytest.approx(1.0)
