"""Rows in rounds: the order that the definition says, two rounds on disk, made again where gone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.distributed import ALONE, Ranks
from pipeline.rounds.descriptor import Described
from pipeline.rounds.source import BUCKETS, ROWS, RoundRows
from pipeline.shuffle import permutation
from tests.rounds.makers import CountingMaker, StopError, epoch_rows
from tests.store.numbered import bytes_below
from tests.two_ranks import in_two

DESCRIBED = Described(400, np.random.default_rng(1).integers(20, 31, 60).astype(np.int32))
SEED, BATCH = 5, 64


@pytest.fixture
def maker() -> CountingMaker:
    return CountingMaker(DESCRIBED)


@pytest.fixture
def rows(tmp_path: Path, maker: CountingMaker) -> Iterator[RoundRows]:
    with RoundRows(DESCRIBED, SEED, tmp_path, maker) as rows:
        yield rows


def read(rows: RoundRows, start: int = 0, stop: int | None = None, **more) -> np.ndarray:
    batches = rows.batches(BATCH, start, stop, **more)
    return np.concatenate([batch["activations"].copy() for batch in batches])


def on_disk(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_epoch_is_round_after_round_each_permuted(rows: RoundRows, epoch: int):
    """The seed of epoch 0 is the shuffle's, that of later ones the training's."""
    found = read(rows, epoch=epoch, seed=9)
    assert np.array_equal(found, epoch_rows(DESCRIBED, 9 if epoch else SEED, epoch))
    assert DESCRIBED.order(SEED).n_rounds > 3


def test_every_epoch_has_all_rows_in_another_order() -> None:
    first, second = (epoch_rows(DESCRIBED, SEED, epoch) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    assert np.array_equal(np.sort(first, axis=0), np.sort(second, axis=0))


def test_batches_from_any_one_on_are_those_of_the_whole_epoch(rows: RoundRows) -> None:
    expected = epoch_rows(DESCRIBED, SEED, 0)
    for start in (20 * BATCH, 7 * BATCH):
        assert np.array_equal(read(rows, start), expected[start:])
    lengths = [len(batch["activations"]) for batch in rows.batches(BATCH)]
    assert lengths[:-1] == [BATCH] * (len(expected) // BATCH)
    assert sum(lengths) == len(expected)


def test_ranks_together_get_every_row_of_every_batch(rows: RoundRows) -> None:
    parts = [rows.batches(BATCH, part=Ranks(rank, 3).part) for rank in range(3)]
    batches = zip(*parts, strict=True)
    together = [part["activations"].copy() for batch in batches for part in batch]
    assert np.array_equal(np.concatenate(together), epoch_rows(DESCRIBED, SEED, 0))


def test_two_processes_make_every_round_to_the_byte_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds of several chunks, and of buckets of which one has rows for both."""
    monkeypatch.setattr(permutation, "MIN_BUCKET_ROWS", 64)

    def files_of_rounds(ranks: Ranks) -> dict[str, dict[str, bytes]]:
        folder, files = tmp_path / f"{ranks.size}", dict[str, dict[str, bytes]]()
        maker = CountingMaker(DESCRIBED, ranks=ranks)
        with RoundRows(DESCRIBED, SEED, folder, maker, 1, ranks) as rows:
            for start, end in stretches(rows, 0, DESCRIBED.n_rows):
                read(rows, start, end, part=ranks.part)
                ranks.meet()
                assert len(on_disk(folder)) <= 2
                name = rows.order(0, SEED).round_at(start).name
                files[name] = bytes_below(folder / name)
                ranks.meet()
        return files

    by_one = files_of_rounds(ALONE)
    assert len(by_one) == DESCRIBED.order(SEED).n_rounds
    assert in_two(files_of_rounds) == [by_one, by_one]


def test_a_round_that_another_number_of_processes_began_is_made_anew(tmp_path: Path) -> None:
    def begin(ranks: Ranks) -> None:
        maker = CountingMaker(DESCRIBED, ranks=ranks)
        with RoundRows(DESCRIBED, SEED, tmp_path, maker, 1, ranks) as rows:
            rows.prepare(9, 0, DESCRIBED.n_rows)

    in_two(begin)
    assert len(list(tmp_path.glob(f"*/{BUCKETS}-of-2"))) == 1
    with RoundRows(DESCRIBED, SEED, tmp_path, CountingMaker(DESCRIBED)) as rows:
        assert np.array_equal(read(rows), epoch_rows(DESCRIBED, SEED, 0))


def test_batches_stay_valid_as_long_as_was_asked(rows: RoundRows) -> None:
    expected, held = epoch_rows(DESCRIBED, SEED, 0), []
    for number, batch in enumerate(rows.batches(BATCH, keep=3, allocate=np.empty)):
        held = [*held[-2:], (number * BATCH, batch["activations"])]
        for first, kept in held:
            assert np.array_equal(kept, expected[first : first + len(kept)])


def stretches(rows: RoundRows, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The stretches of a training with seed 9, as `Stream.stretches` asks for them."""
    while start < stop:
        end = rows.prepare(9, start, stop)
        assert start < end <= stop
        yield start, end
        start = end


def test_two_rounds_are_on_disk_at_most_and_each_is_made_once(
    tmp_path: Path, rows: RoundRows, maker: CountingMaker
) -> None:
    n_rows = DESCRIBED.n_rows
    for start, end in stretches(rows, 0, 2 * n_rows):
        assert len(on_disk(tmp_path)) <= 2
        epoch, row = divmod(start, n_rows)
        read(rows, row, row + end - start, epoch=epoch, seed=9)
        assert len(on_disk(tmp_path)) <= 2
    n_rounds = [DESCRIBED.order(seed, epoch).n_rounds for seed, epoch in ((SEED, 0), (9, 1))]
    assert len(maker.dealt) == len(set(maker.dealt)) == sum(n_rounds)
    assert len(on_disk(tmp_path)) == 1


def test_the_last_rounds_of_a_part_of_an_epoch_are_not_made(
    rows: RoundRows, maker: CountingMaker
) -> None:
    for start, end in stretches(rows, 0, 500):
        read(rows, start, end)
    assert len(maker.dealt) == 2


def test_buckets_go_with_their_round_and_with_a_whole_store(
    tmp_path: Path, rows: RoundRows
) -> None:
    rows.prepare(9, 0, DESCRIBED.n_rows)
    read(rows, 0, BATCH)
    name = rows.order(0, 9).round(0).name
    assert on_disk(tmp_path / name) == [ROWS]
    (tmp_path / name / BUCKETS).mkdir()  # as a kill after the seal leaves it
    with RoundRows(DESCRIBED, SEED, tmp_path, CountingMaker(DESCRIBED)) as again:
        assert np.array_equal(read(again, 0, BATCH), epoch_rows(DESCRIBED, SEED, 0)[:BATCH])
    assert on_disk(tmp_path / name) == [ROWS]


def test_a_round_that_is_gone_is_made_again(
    tmp_path: Path, rows: RoundRows, maker: CountingMaker
) -> None:
    read(rows)
    again = read(rows, 0, 3 * BATCH)
    assert np.array_equal(again, epoch_rows(DESCRIBED, SEED, 0)[: 3 * BATCH])
    assert maker.dealt.count(rows.order(0, 0).round(0).name) == 2
    assert len(on_disk(tmp_path)) <= 2


def test_an_error_in_the_background_comes_out_where_the_round_is_needed(tmp_path: Path) -> None:
    calls: list[str] = []

    def fail(step: str) -> None:
        calls.append(step)
        if calls.count("order") == 2:
            raise StopError

    with RoundRows(DESCRIBED, SEED, tmp_path, CountingMaker(DESCRIBED, fail)) as rows:
        end = rows.prepare(9, 0, DESCRIBED.n_rows)
        read(rows, 0, end // BATCH * BATCH)
        with pytest.raises(StopError):
            read(rows, end // BATCH * BATCH, None)
