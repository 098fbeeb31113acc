"""Dump, training, reading and verifying take no more memory for a larger store, seen from outside.

Each runs twice in a process of its own, the second time over a store four times as large.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS, D_MODEL, ROWS_PER_CHUNK = 30_720, 256, 1024  # 32 MB
GROWTH_BYTES = 3 * ROWS * 2 * D_MODEL * 2
CHILD = """
import re, sys
from pathlib import Path
from tests import test_flat_memory as jobs
getattr(jobs, sys.argv[1])(Path(sys.argv[2]), int(sys.argv[3]))
# Not ru_maxrss, which begins at the size of the parent process.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


def in_child(job: str, path: Path, n_rows: int) -> int:
    """Peak resident bytes of a process that does `job`."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, job, str(path), str(n_rows)],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return int(ended.stdout.split()[-1])


@pytest.fixture(scope="module")
def stores(module_path: Path) -> dict[int, Path]:
    for n_rows in (ROWS, 4 * ROWS):
        write(module_path / str(n_rows), n_rows)
    return {n_rows: module_path / str(n_rows) for n_rows in (ROWS, 4 * ROWS)}


@pytest.mark.parametrize("job", ["verify", "read", "train"])
def test_a_consumer_of_a_larger_store_takes_no_more_memory(
    stores: dict[int, Path], job: str
) -> None:
    small, large = (in_child(job, path, n_rows) for n_rows, path in stores.items())
    assert large - small < GROWTH_BYTES // 5


def test_a_larger_dump_takes_no_more_memory(tmp_path: Path) -> None:
    small, large = (in_child("dump", tmp_path / str(n), n) for n in (ROWS, 4 * ROWS))
    assert large - small < GROWTH_BYTES // 5


def test_memory_that_grows_with_the_store_is_seen(stores: dict[int, Path]) -> None:
    small, large = (in_child("read_whole", path, n_rows) for n_rows, path in stores.items())
    assert large - small > 0.9 * GROWTH_BYTES


def write(path: Path, n_rows: int) -> None:
    import numpy as np

    from pipeline.store import StoreWriter, activation_layout

    layout = activation_layout(2, D_MODEL, ROWS_PER_CHUNK)
    generator = np.random.default_rng(0)
    rows = {s.name: np.zeros((ROWS_PER_CHUNK, *s.shape), s.dtype) for s in layout.arrays}
    shape = rows["activations"].shape
    rows["activations"] = generator.integers(0x3E00, 0x4080, shape).astype(np.uint16)
    with StoreWriter.open(path, layout) as writer:
        for _ in range(n_rows // ROWS_PER_CHUNK):
            writer.append(rows)
        writer.finish()


def verify(path: Path, n_rows: int) -> None:
    from pipeline.store import verify_store

    assert verify_store(path).n_rows == n_rows


def read(path: Path, n_rows: int) -> None:
    """An epoch in stored order and one in another, in windows smaller than either store."""
    from pipeline.store import StoreReader

    with StoreReader.open(path) as reader:
        for epoch in (0, 1):
            served = reader.batches(512, epoch=epoch, seed=0, window_rows=4 * ROWS_PER_CHUNK)
            assert sum(len(batch["activations"]) for batch in served) == n_rows


def read_whole(path: Path, n_rows: int) -> None:
    from pipeline.store import StoreReader

    with StoreReader.open(path) as reader:
        assert len(reader.read("activations")) == n_rows


def train(path: Path, n_rows: int) -> None:
    import torch

    from pipeline.store import StoreReader
    from pipeline.training.training import Training
    from tests.training.planted_rows import MemorySource, crosscoder_config, train_config

    torch.set_num_threads(1)
    with StoreReader.open(path) as reader:
        training = Training(
            crosscoder=crosscoder_config("batch_topk"),
            train=train_config(batch_rows=ROWS_PER_CHUNK, checkpoint_every_steps=100),
            source=reader,
            heldout=MemorySource(reader.read("activations", 0, 400)),
            folder=Path(f"trained-{n_rows}"),
            device=torch.device("cpu"),
        )
        run = training.start()
        run.train(lambda n, **figures: None)
        assert run.step == n_rows // ROWS_PER_CHUNK


def dump(path: Path, n_rows: int) -> None:
    import numpy as np
    import torch

    from pipeline.harvest.dump import dump as dump_rows
    from pipeline.harvest.pair import HookedPair
    from pipeline.store import StoreReader, StoreWriter, token_layout
    from tests.harvest.conftest import BOS, VOCABULARY, random_llama

    torch.set_num_threads(1)
    length, n_sequences = 65, n_rows // 64  # a BOS, which gives no row, and 64 tokens
    tokens = token_layout(length, 64, sources=("pile",))
    rows = {s.name: np.zeros((n_sequences, *s.shape), s.dtype) for s in tokens.arrays}
    shape = rows["token_id"].shape
    rows["token_id"] = np.random.default_rng(0).integers(2, VOCABULARY, shape).astype(np.int32)
    rows["token_id"][:, 0] = BOS
    with StoreWriter.open(path.with_name(f"tokens-{n_rows}"), tokens) as writer:
        writer.append(rows)
        writer.finish()
    models = [random_llama(seed, d_model=D_MODEL) for seed in (0, 1)]
    pair = HookedPair(models, layer=2, d_model=D_MODEL, start_id=BOS)
    with StoreReader.open(path.with_name(f"tokens-{n_rows}")) as reader:
        dump_rows(
            lambda layout, n: StoreWriter.open(path, layout),
            reader,
            range(n_sequences),
            pair,
            batch_tokens=16 * length,
            rows_per_chunk=ROWS_PER_CHUNK,
            codec="none",
            progress_name="dump",
        )
    with StoreReader.open(path) as reader:
        assert reader.n_rows == n_rows
