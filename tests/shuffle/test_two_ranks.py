"""Two processes deal and shuffle what one does, to the byte, also after a kill."""

from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from pipeline.distributed import ALONE, Ranks
from pipeline.errors import BusyError
from pipeline.shuffle import permutation as permutation_module
from pipeline.shuffle.checksums import joined
from pipeline.shuffle.permutation import Permutation
from pipeline.shuffle.scatter import deal_as_produced
from pipeline.shuffle.shuffle import shuffle_store
from pipeline.store import StoreWriter, activation_layout
from tests.store.numbered import bytes_below, numbered_rows
from tests.two_ranks import in_two

N_ROWS, SEED, PLENTY = 3000, 11, 2**26
LAYOUT = activation_layout(2, 150, 64)


@pytest.fixture(autouse=True)
def _many_small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation_module, "MIN_BUCKET_ROWS", 512)
    monkeypatch.setattr(permutation_module, "ROWS_PER_PIECE", 4)


@given(first=st.binary(max_size=300), second=st.binary(max_size=5000))
def test_the_sum_of_two_runs_of_bytes_follows_from_the_sums_of_each(
    first: bytes, second: bytes
) -> None:
    assert joined(crc32c(first), crc32c(second), len(second)) == crc32c(first + second)


@given(row=st.integers(0, N_ROWS))
def test_what_buckets_hold_before_a_row_is_what_earlier_rows_sent(row: int) -> None:
    permutation = Permutation(SEED, N_ROWS)
    dealt = np.concatenate([block.buckets for block in permutation.blocks()])
    _, filled = permutation.filled_before(row)
    assert filled.tolist() == np.bincount(dealt[:row], minlength=permutation.n_buckets).tolist()


def deal(path: Path, ranks: Ranks, stop_at: int | None = None) -> None:
    """Deal this rank's rows, or some of them, as after a kill."""
    with deal_as_produced(
        path, LAYOUT, N_ROWS, seed=SEED, buffer_bytes=PLENTY, n_threads=1, ranks=ranks
    ) as writer:
        if writer.sealed:
            return
        writer._load_rows = 100
        while (row := writer.next_row) < writer.stop_row:
            if stop_at is not None and row - ranks.part(N_ROWS).start > stop_at:
                writer._settle()
                return
            writer.append(numbered_rows(LAYOUT, row, min(row + 130, writer.stop_row)))
        if stop_at is not None:
            writer._settle()
            return
        writer.finish()


@pytest.fixture
def dealt_by_one(tmp_path: Path) -> Path:
    deal(tmp_path / "one", ALONE)
    return tmp_path / "one"


def test_two_processes_deal_the_bytes_of_one(dealt_by_one: Path, tmp_path: Path) -> None:
    in_two(lambda ranks: deal(tmp_path / "two", ranks))
    assert bytes_below(tmp_path / "two") == bytes_below(dealt_by_one)


@pytest.mark.parametrize("how", ["two", "one"])
@pytest.mark.parametrize("stop_at", [500, N_ROWS])
def test_a_deal_that_was_killed_ends_in_the_same_bytes(
    dealt_by_one: Path, tmp_path: Path, how: str, stop_at: int
) -> None:
    """Whether two processes or one go on; they go on behind what is recorded, which may be all rows
    of both, not put together yet."""
    path = tmp_path / "killed"
    in_two(lambda ranks: deal(path, ranks, stop_at=stop_at))
    assert len(list(path.glob("progress.*-*.json"))) == 2
    assert not (path / "progress.json").exists()
    if how == "two":
        in_two(lambda ranks: deal(path, ranks))
    else:
        deal(path, ALONE)
    assert bytes_below(path) == bytes_below(dealt_by_one)


def test_records_of_parts_that_a_kill_left_beside_the_whole_one_go(dealt_by_one: Path) -> None:
    expected = bytes_below(dealt_by_one)
    for rows in ("0-1500", "1500-3000"):
        (dealt_by_one / f"progress.{rows}.json").write_text("{}")
    in_two(lambda ranks: deal(dealt_by_one, ranks))
    assert bytes_below(dealt_by_one) == expected


def test_another_job_on_the_same_buckets_is_refused_on_every_rank(tmp_path: Path) -> None:
    with deal_as_produced(
        tmp_path / "held", LAYOUT, N_ROWS, seed=SEED, buffer_bytes=PLENTY, n_threads=1
    ):

        def refused(ranks: Ranks) -> None:
            with pytest.raises(BusyError, match="is held by another process"):
                deal(tmp_path / "held", ranks)

        in_two(refused)


def as_store(path: Path) -> Path:
    with StoreWriter.open(path, LAYOUT) as writer:
        writer.append(numbered_rows(LAYOUT, 0, N_ROWS))
        writer.finish()
    return path


@pytest.mark.parametrize("source", ["store", "buckets"])
def test_two_processes_shuffle_to_the_bytes_of_one(tmp_path: Path, source: str) -> None:
    rows = as_store(tmp_path / "store")
    shuffle_store(rows, tmp_path / "one", seed=SEED, buffer_bytes=PLENTY)
    if source == "buckets":
        rows = tmp_path / "buckets"
        deal(rows, ALONE)

    def shuffled(ranks: Ranks) -> int:
        n = shuffle_store(rows, tmp_path / "two", seed=SEED, buffer_bytes=PLENTY, ranks=ranks)
        ranks.meet()
        return n

    assert in_two(shuffled) == [N_ROWS, N_ROWS]
    assert bytes_below(tmp_path / "two") == bytes_below(tmp_path / "one")
