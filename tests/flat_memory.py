"""Jobs over a store of so many rows; each tells its process's peak resident bytes in the end."""

import os
import re
from pathlib import Path

import numpy as np
import torch

from pipeline.harvest.dump import dump as dump_rows
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sink import Target
from pipeline.store import (
    StoreReader,
    StoreWriter,
    activation_layout,
    token_layout,
    verify_store,
)
from pipeline.training.training import Training
from tests.harvest.conftest import BOS, VOCABULARY, random_llama
from tests.training.planted_rows import MemorySource, crosscoder_config, train_config

D_MODEL, ROWS_PER_CHUNK = 256, 1024
ROW_BYTES = 2 * D_MODEL * 2
ROWS = 30_720  # 32 MB


def main(arguments: list[str]) -> None:
    job, path, n_rows = arguments
    os.chdir(Path(path).parent)  # logs go there
    torch.set_num_threads(1)
    JOBS[job](Path(path), int(n_rows))
    # Not ru_maxrss, which begins at the size of the parent process.
    (peak,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    print(int(peak) * 1024)


def write(path: Path, n_rows: int) -> None:
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
    assert verify_store(path).n_rows == n_rows


def read(path: Path, n_rows: int) -> None:
    """An epoch in stored order and one in another, in windows smaller than either store."""
    with StoreReader.open(path) as reader:
        for epoch in (0, 1):
            served = reader.batches(512, epoch=epoch, seed=0, window_rows=4 * ROWS_PER_CHUNK)
            assert sum(len(batch["activations"]) for batch in served) == n_rows


def read_whole(path: Path, n_rows: int) -> None:
    with StoreReader.open(path) as reader:
        assert len(reader.read("activations")) == n_rows


def train(path: Path, n_rows: int) -> None:
    with StoreReader.open(path) as reader:
        training = Training(
            crosscoder=crosscoder_config("batch_topk"),
            train=train_config(batch_rows=ROWS_PER_CHUNK, checkpoint_every_steps=100),
            source=reader,
            heldout=MemorySource(reader.read("activations", 0, 400)),
            folder=path.with_name(f"trained-{n_rows}"),
            device=torch.device("cpu"),
        )
        run = training.start()
        run.train(lambda n, **figures: None)
        assert run.step == n_rows // ROWS_PER_CHUNK


def dump(path: Path, n_rows: int) -> None:
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
    pair = HookedPair(models, layers=(1,), d_model=D_MODEL, start_id=BOS)
    with StoreReader.open(path.with_name(f"tokens-{n_rows}")) as reader:
        dump_rows(
            [Target(lambda layout, n: StoreWriter.open(path, layout))],
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


JOBS = {job.__name__: job for job in (write, verify, read, read_whole, train, dump)}
