import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.stream import Stream, uploaded
from tests.training.planted_rows import MemorySource


def numbered(n_rows: int) -> MemorySource:
    return MemorySource(np.arange(n_rows, dtype=np.float32).reshape(n_rows, 1, 1))


@settings(max_examples=60, deadline=None)
@given(n_stored=st.integers(1, 40), batch_rows=st.integers(1, 17), n_rows=st.integers(1, 130))
def test_every_row_is_served_once_per_epoch(n_stored: int, batch_rows: int, n_rows: int):
    stream = Stream(numbered(n_stored), batch_rows, n_rows, seed=5)
    seen: dict[int, list[int]] = {}
    for batch in stream.batches():
        rows = batch.x_raw.flatten().int().tolist()
        assert len(rows) == batch.stop_row - batch.start_row
        seen.setdefault(batch.epoch, []).extend(rows)
    assert sum(len(rows) for rows in seen.values()) == n_rows
    for epoch, rows in seen.items():
        assert len(set(rows)) == len(rows)
        assert epoch == max(seen) or sorted(rows) == list(range(n_stored))


def test_the_number_of_steps_is_that_of_the_batches():
    for n_rows in range(1, 90):
        stream = Stream(numbered(25), 8, n_rows, seed=5)
        assert len(list(stream.batches())) == stream.n_steps


def test_the_first_epoch_follows_the_store_and_the_next_ones_do_not():
    stream = Stream(numbered(30), 30, 60, seed=5)
    first, second = (batch.x_raw.flatten().tolist() for batch in stream.batches())
    assert first == sorted(first)
    assert second != first


@pytest.mark.parametrize("n_rows", [25, 60])
def test_a_stream_taken_up_at_a_batch_goes_on_as_if_unbroken(n_rows: int):
    def flat(n_rows_done: int) -> list[list[float]]:
        stream = Stream(numbered(25), 8, n_rows, seed=5)
        return [batch.x_raw.flatten().tolist() for batch in stream.batches(n_rows_done)]

    whole, done = flat(0), 0
    for index, batch in enumerate(whole):
        assert flat(done) == whole[index:]
        done += len(batch)


def test_page_locked_batches_are_the_same_and_outlive_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that one can be on its way to a GPU while the next is read."""
    monkeypatch.setattr("pipeline.training.stream.page_locked_empty", np.empty)
    plain = Stream(numbered(25), 8, 60, seed=5)
    locked = Stream(numbered(25), 8, 60, seed=5, page_locked=True)
    batches, held = locked.batches(), None
    for expected in [batch.x_raw.clone() for batch in plain.batches()]:
        batch = next(batches)
        assert torch.equal(batch.x_raw, expected)
        if held is not None:
            assert torch.equal(*held)
        held = batch.x_raw, expected


def test_on_a_cpu_batches_are_handed_on_as_they_are():
    stream = Stream(numbered(25), 8, 60, seed=5)
    cpu = torch.device("cpu")
    given = [batch.x_raw.tolist() for batch in uploaded(stream.batches(), cpu)]
    assert given == [batch.x_raw.tolist() for batch in stream.batches()]
