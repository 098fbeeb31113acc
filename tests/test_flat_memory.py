"""Dump, training, reading and verifying take no more memory for a larger store, seen from outside.

Each runs twice in a process of its own, the second time over a store four times as large.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flat_memory import ROW_BYTES, ROWS
from tests.forks import Forks, forks

GROWTH_BYTES = 3 * ROWS * ROW_BYTES


@pytest.fixture(scope="module")
def jobs(module_path: Path) -> Iterator[Forks]:
    with forks("tests.flat_memory", module_path) as runs:
        yield runs


@pytest.fixture(scope="module")
def stores(jobs: Forks, module_path: Path) -> dict[int, Path]:
    stores = {n_rows: module_path / str(n_rows) for n_rows in (ROWS, 4 * ROWS)}
    for n_rows, path in stores.items():
        jobs.finish("write", str(path), str(n_rows))
    return stores


def peak(jobs: Forks, job: str, path: Path, n_rows: int) -> int:
    """Peak resident bytes of a process that does `job`."""
    ended = jobs.run(job, str(path), str(n_rows))
    assert ended.statuses == [0], ended.said[-3000:]
    return int(ended.said.split()[-1])


@pytest.mark.parametrize("job", ["verify", "read", "train"])
def test_a_consumer_of_a_larger_store_takes_no_more_memory(
    jobs: Forks, stores: dict[int, Path], job: str
) -> None:
    small, large = (peak(jobs, job, path, n_rows) for n_rows, path in stores.items())
    assert large - small < GROWTH_BYTES // 5


def test_a_larger_dump_takes_no_more_memory(jobs: Forks, tmp_path: Path) -> None:
    small, large = (peak(jobs, "dump", tmp_path / str(n), n) for n in (ROWS, 4 * ROWS))
    assert large - small < GROWTH_BYTES // 5


def test_memory_that_grows_with_the_store_is_seen(jobs: Forks, stores: dict[int, Path]) -> None:
    small, large = (peak(jobs, "read_whole", path, n_rows) for n_rows, path in stores.items())
    assert large - small > 0.9 * GROWTH_BYTES
