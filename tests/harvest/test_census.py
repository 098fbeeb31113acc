import numpy as np
import pytest

from pipeline.harvest.census import rows_of, take_census
from pipeline.store import StoreReader


@pytest.mark.parametrize("batch_sequences", [1, 3, 22, 100])
def test_the_census_knows_the_first_row_of_every_batch(tokens, batch_sequences: int) -> None:
    census = take_census(tokens, range(22), batch_sequences, start_id=1)
    per_sequence = (tokens.read("token_id") != 1).sum(axis=1)
    starts = np.concatenate([[0], np.cumsum(per_sequence)])[::batch_sequences]
    assert list(census.first_rows[: len(starts)]) == list(starts)
    assert census.n_rows == per_sequence.sum() == census.counts["n_rows"]


def test_a_row_is_found_in_its_batch(tokens) -> None:
    census = take_census(tokens, range(4, 12), 3, start_id=1)
    assert list(census.first_rows) == [0, 43, 88, 118]
    assert [census.batch_of(row) for row in (0, 42, 43, 87, 88, 117)] == [0, 0, 1, 1, 2, 2]
    assert census.batch_of(118) == 3


def test_counts_add_up(tokens) -> None:
    counts = take_census(tokens, range(22), 4, start_id=1).counts
    assert counts["n_rows"] + counts["n_bos_dropped"] == 22 * 16
    assert counts["n_pile_rows"] + counts["n_chat_rows"] == counts["n_rows"]
    assert counts["n_other_rows"] + counts["n_template_rows"] == counts["n_rows"]


def test_no_sequences_have_no_rows(tokens) -> None:
    census = take_census(tokens, range(22, 22), 4, start_id=1)
    assert census.n_rows == 0
    assert census.batch_of(0) == 0


def test_with_nothing_in_front_position_0_gives_no_row(tokens: StoreReader) -> None:
    census = take_census(tokens, range(22), 4, start_id=None)
    assert census.n_rows == 22 * 15
    assert census.counts["n_bos_dropped"] == 22


def test_a_start_gives_no_row_wherever_it_stands() -> None:
    ids = np.array([[1, 5, 1, 6], [7, 1, 5, 5]], np.int32)
    assert rows_of(ids, 1).tolist() == [[False, True, False, True], [False, False, True, True]]
    assert rows_of(ids, None).tolist() == [[False, True, True, True]] * 2
