"""The order of rows in rounds: every sequence once, exact bounds, uniform, the same every time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.rounds.order import Order
from pipeline.shuffle.permutation import Permutation

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=200)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(0, 300), st.integers(0, 5), st.integers(0, 3))
def test_rounds_hold_every_sequence_once_and_never_too_many_rows(
    lengths: list[int], more: int, seed: int, epoch: int
) -> None:
    rows_per_sequence = np.array(lengths, np.int32)
    order = Order(seed, epoch, rows_per_sequence, 3 * max(lengths) + more)
    rounds = [order.round(number) for number in range(order.n_rounds)]
    sequences = np.concatenate([each.sequences for each in rounds])
    assert sorted(sequences) == list(range(len(lengths)))
    for each in rounds:
        assert each.n_rows == rows_per_sequence[each.sequences].sum()
        assert each.n_rows <= order.rows_per_round
        assert list(each.sequences) == sorted(each.sequences)
    bounds = [each.start for each in rounds] + [rounds[-1].stop]
    assert bounds == list(order.starts)
    assert bounds[-1] == sum(lengths)
    for row in range(0, sum(lengths), 7):
        held = order.round_at(row)
        assert held.start <= row < held.stop


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(0, 200))
def test_a_batch_reaches_over_two_rounds_at_most_where_the_configuration_is_accepted(
    lengths: list[int], batch_rows: int, more: int
) -> None:
    """The schema asks for two batches and three sequences a round."""
    longest = max(lengths)
    order = Order(0, 0, np.array(lengths, np.int32), 2 * batch_rows + 3 * longest + more)
    if order.n_rounds > 1:
        assert np.diff(order.starts).min() >= batch_rows


def test_a_round_is_a_pure_function_of_seed_and_counts() -> None:
    rows = np.full(50, 7, np.int32)
    first, again = (Order(3, 1, rows, 100).round(2) for _ in range(2))
    assert np.array_equal(first.sequences, again.sequences)
    assert first.seed == again.seed
    other_seed, other_epoch = Order(4, 1, rows, 100), Order(3, 2, rows, 100)
    for other in (other_seed, other_epoch):
        assert not np.array_equal(other.sequences, Order(3, 1, rows, 100).sequences)
        assert other.round(2).seed != first.seed
        assert other.round(2).name != first.name


def test_rounds_of_one_length_are_permuted_independently() -> None:
    order = Order(0, 0, np.full(400, 5, np.int32), 500)
    first, second = (order.round(number) for number in (0, 1))
    assert first.n_rows == second.n_rows
    places = [Permutation(each.seed, each.n_rows).sources() for each in (first, second)]
    assert np.mean(places[0] == places[1]) < 0.05


def test_every_sequence_comes_into_every_round_equally_often() -> None:
    """Chi-square of sequence x round over 2,000 seeds; 93.2 is its 99.9 % point at 55 degrees."""
    rows = np.full(12, 10, np.int32)
    counts = np.zeros((12, 6))
    for seed in range(2000):
        order = Order(seed, 0, rows, 30)
        for number in range(order.n_rounds):
            counts[order.round(number).sequences, number] += 1
    expected = 2000 / 6
    assert ((counts - expected) ** 2 / expected).sum() < 93.2


def test_a_round_shorter_than_three_sequences_is_refused() -> None:
    with pytest.raises(ConfigError, match="rows_per_round is 29, but a sequence gives 10 rows"):
        Order(0, 0, np.array([10], np.int32), 29)
