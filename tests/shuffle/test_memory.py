"""The memory limit is kept by the whole process, seen from outside, whatever the store's size."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.shuffle.memory import least_bytes, plan_memory, producer_load_rows
from pipeline.shuffle.permutation import Permutation
from pipeline.store import StoreWriter, activation_layout

ROOT = Path(__file__).parents[2]
LAYOUT = activation_layout(2, 1024, 512)
N_ROWS = 25_000  # 102 MB, seven buckets
CHILD = """
import re, sys
from pathlib import Path
from pipeline.runtime import resident_memory_bytes
from pipeline.shuffle.shuffle import shuffle_store
source, out, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
shuffle_store(source, out, seed=0, buffer_bytes=limit - resident_memory_bytes())
# Not ru_maxrss, which begins at the size of the parent process.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


@pytest.fixture(scope="module")
def source(module_path: Path) -> Path:
    path = module_path / "store"
    rows = {s.name: np.ones((2000, *s.shape), s.dtype) for s in LAYOUT.arrays}
    with StoreWriter.open(path, LAYOUT) as writer:
        for _ in range(N_ROWS // 2000):
            writer.append(rows)
        writer.finish()
    return path


@pytest.mark.parametrize("limit", [100_000_000, 130_000_000, 160_000_000])
def test_the_limit_is_kept_within_a_tenth(source: Path, tmp_path: Path, limit: int) -> None:
    command = [sys.executable, "-c", CHILD, str(source), str(tmp_path / "out"), str(limit)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 1.1 * limit


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("n_rows", [100, 10**6, 4 * 10**8])
@pytest.mark.parametrize("share", [1.0, 1.5, 4.0, 100.0])
def test_a_plan_never_promises_more_than_the_limit(n_rows: int, share: float, codec: str) -> None:
    layout = activation_layout(2, 2304, 4096, codec)
    permutation = Permutation(0, n_rows)
    limit = int(least_bytes(layout, permutation) * share)
    plan = plan_memory(layout, permutation, limit, 4)
    row, chunk = layout.row_bytes, layout.chunk_bytes
    assert plan.load_rows >= 1
    assert plan.part_rows >= 1
    assert 2 * plan.load_rows * row + (plan.n_threads + 1) * chunk <= limit
    second = max(1, plan.n_bucket_buffers) * permutation.bucket_rows
    second = min(second, plan.part_rows) if plan.n_bucket_buffers == 0 else second
    assert second * row + (plan.n_threads + 1) * chunk <= limit


def test_the_least_memory_hardly_grows_with_the_rows() -> None:
    layout = activation_layout(2, 2304, 4096)
    needs = [least_bytes(layout, Permutation(0, n)) for n in (10**5, 10**7, 4 * 10**8)]
    # A block of 4 KiB for each of the 3,052 buckets and two regions of the largest.
    assert max(needs) - min(needs) < 26_000_000
    assert max(needs) < 330_000_000


def test_less_than_the_least_is_refused() -> None:
    layout, permutation = activation_layout(2, 2304, 4096), Permutation(0, 10**6)
    with pytest.raises(ConfigError, match=r"raise shuffle\.memory_bytes by 1 or"):
        plan_memory(layout, permutation, least_bytes(layout, permutation) - 1, 2)


@pytest.mark.parametrize("n_rows", [10**6, 4 * 10**8])
def test_a_producer_that_deals_keeps_two_loads_within_the_limit(n_rows: int) -> None:
    layout, permutation = activation_layout(2, 2304, 4096), Permutation(0, n_rows)
    for limit in (200_000_000, 10**9, 10**11):
        rows = producer_load_rows(layout, permutation, limit, 2)
        assert rows >= 4096
        assert 2 * rows * layout.row_bytes < limit
    with pytest.raises(ConfigError, match=r"or set dump\.scatter_seed=null"):
        producer_load_rows(layout, permutation, 80_000_000, 2)
