"""The matching against every permutation, and against larger planted ones."""

from itertools import permutations

import numpy as np
import pytest

from pipeline.analysis.assignment import best_matching


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 6), (6, 4), (5, 5), (2, 7)])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_matching_has_a_larger_sum(shape: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    drawn = random.standard_normal(shape) if seed % 2 else random.integers(-2, 3, shape)
    score = drawn.astype(np.float64)
    rows, columns = best_matching(score)
    assert len(set(rows)) == len(set(columns)) == len(rows) == min(shape)
    assert sorted(rows) == list(rows)
    wide = score if shape[0] <= shape[1] else score.T
    best = max(
        sum(wide[i, j] for i, j in enumerate(chosen))
        for chosen in permutations(range(wide.shape[1]), wide.shape[0])
    )
    assert score[rows, columns].sum() == pytest.approx(best)


def test_a_hidden_permutation_is_found() -> None:
    random = np.random.default_rng(0)
    truth = random.permutation(200)[:150]
    score = random.uniform(0, 0.4, (150, 200))
    score[np.arange(150), truth] += 0.5
    rows, columns = best_matching(score)
    assert np.array_equal(rows, np.arange(150))
    assert np.array_equal(columns, truth)
