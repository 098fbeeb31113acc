"""One thread per test process: two of them share two cores, and spinning threads would fight.

What tests write goes with them: the whole suite needs half a gigabyte at a time.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.warm import warm

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where torch brings Triton, it loads it before any test could ask for the interpreter.
os.environ.setdefault("TRITON_INTERPRET", "1")
# A deadline per example fails on a busy machine and finds nothing that --durations does not show.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

LONGEST = "test_pipeline.py"


@pytest.fixture(scope="module")
def module_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what the tests of a module share, gone with the last of them."""
    path = tmp_path_factory.mktemp("module")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder with a `dvc` and a `python` that start in no time."""
    with warm(tmp_path_factory.mktemp("warm") / "programs") as folder:
        yield folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole graph first: it takes one worker as long as everything else takes the other."""
    items.sort(key=lambda item: item.path.name != LONGEST)


def pytest_runtest_teardown() -> None:
    """A stage run by a test in its own process has torch take denormal numbers for zero, which
    Hypothesis refuses to draw beside, and sets the threads of all tests after it."""
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
        torch.set_num_threads(1)
