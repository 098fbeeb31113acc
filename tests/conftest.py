"""One thread per test process: two of them share two cores, and spinning threads would fight."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = "test_pipeline.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole graph first: it takes one worker as long as everything else takes the other."""
    items.sort(key=lambda item: item.path.name != LONGEST)
