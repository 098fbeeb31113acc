"""The permutation: every row once, decided by seed and row count, uniform, invertible."""

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.shuffle import permutation as module
from pipeline.shuffle.permutation import Permutation


@pytest.fixture
def many_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets so small that a few thousand rows need many."""
    monkeypatch.setattr(module, "MIN_BUCKET_ROWS", 64)
    monkeypatch.setattr(module, "ROWS_PER_PIECE", 2)


@pytest.mark.parametrize("n_rows", [1, 2, 63, 64, 65, 1000, 4097])
@pytest.mark.usefixtures("many_buckets")
def test_it_is_a_permutation(n_rows: int) -> None:
    sources = Permutation(0, n_rows).sources()
    np.testing.assert_array_equal(np.sort(sources), np.arange(n_rows))


def test_it_is_a_permutation_at_the_real_bucket_size() -> None:
    permutation = Permutation(0, 100_000)
    assert permutation.n_buckets > 1
    np.testing.assert_array_equal(np.sort(permutation.sources()), np.arange(100_000))


@pytest.mark.usefixtures("many_buckets")
def test_the_seed_and_the_row_count_decide_it() -> None:
    first = Permutation(1, 3000).sources()
    np.testing.assert_array_equal(first, Permutation(1, 3000).sources())
    for other in (Permutation(2, 3000), Permutation(1, 3001)):
        assert (other.sources()[:3000] != first).mean() > 0.99


@pytest.mark.usefixtures("many_buckets")
def test_every_place_is_equally_likely_for_every_row() -> None:
    """Chi-square over (row, place) counts of many seeds: mean (n - 1)^2, variance twice that."""
    n_rows, n_seeds = 130, 2600
    counts = np.zeros((n_rows, n_rows))
    for seed in range(n_seeds):
        counts[np.arange(n_rows), Permutation(seed, n_rows).sources()] += 1
    expected = n_seeds / n_rows
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = (n_rows - 1) ** 2
    assert abs(statistic - freedom) < 4 * (2 * freedom) ** 0.5


@pytest.mark.usefixtures("many_buckets")
def test_pairs_of_neighbours_are_equally_likely() -> None:
    """Two rows that stand together in the input are neighbours in the output 2 (n-1) / n (n-1)."""
    n_rows, n_seeds = 200, 2000
    hits = 0
    for seed in range(n_seeds):
        sources = Permutation(seed, n_rows).sources()
        hits += int((np.abs(np.diff(sources)) == 1).sum())
    expected = n_seeds * 2 * (n_rows - 1) / n_rows
    assert abs(hits - expected) < 4 * expected**0.5


def test_neighbours_share_a_document_as_often_as_chance() -> None:
    """Collisions of document within batches of 4,096, against a uniform draw, within 3 sigma."""
    n_rows, document_rows, batch = 200_000, 250, 4096
    documents = Permutation(0, n_rows).sources() // document_rows
    collisions = 0
    n_batches = n_rows // batch
    for i in range(n_batches):
        counts = np.unique(documents[i * batch : (i + 1) * batch], return_counts=True)[1]
        collisions += int((counts * (counts - 1) // 2).sum())
    pairs = n_batches * batch * (batch - 1) // 2
    chance = (document_rows - 1) / (n_rows - 1)
    assert abs(collisions - pairs * chance) < 3 * (pairs * chance) ** 0.5


@pytest.mark.usefixtures("many_buckets")
def test_dealing_can_begin_at_any_block() -> None:
    permutation = Permutation(4, 3000)
    blocks = list(permutation.blocks())
    for block in permutation.blocks(7, blocks[7].filled):
        whole = blocks[block.start // permutation.bucket_rows]
        np.testing.assert_array_equal(block.buckets, whole.buckets)


@pytest.mark.parametrize("n_rows", [0, 10**9])
def test_row_counts_out_of_range_are_refused(n_rows: int) -> None:
    with pytest.raises(ConfigError, match="cannot be shuffled"):
        Permutation(0, n_rows)
