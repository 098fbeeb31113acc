"""Two processes write the store that one writes, to the byte, also after a kill of one of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.harvest.dump import dump
from pipeline.harvest.pair import HookedPair
from pipeline.store import StoreReader, StoreWriter, verify_store
from tests.harvest.several_processes import BATCH_TOKENS, ROWS_PER_CHUNK
from tests.store.numbered import bytes_below

ROOT = Path(__file__).parents[2]


def dump_in_two(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", "tests.harvest.several_processes"]
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def dump_in_one(path: Path, tokens: StoreReader, pair: HookedPair) -> None:
    dump(
        lambda layout, n_rows: StoreWriter.open(path, layout),
        tokens,
        range(tokens.n_rows),
        pair,
        batch_tokens=BATCH_TOKENS,
        rows_per_chunk=ROWS_PER_CHUNK,
        codec="none",
        progress_name="dump",
    )


def test_two_processes_write_the_store_of_one_also_after_a_kill(
    tokens: StoreReader, pair: HookedPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # logs/ goes here
    dump_in_one(tmp_path / "one", tokens, pair)
    expected = bytes_below(tmp_path / "one")

    killed = dump_in_two(str(tokens.path), str(tmp_path / "two"), "1", "2")
    assert killed.returncode != 0
    assert killed.stderr.count("another process of this job has ended") == 1, killed.stderr
    assert not (tmp_path / "two" / "seal.json").exists()
    assert len(list((tmp_path / "two").glob("journal*.jsonl"))) == 2
    shutil.copytree(tmp_path / "two", tmp_path / "two_then_one")

    resumed = dump_in_two(str(tokens.path), str(tmp_path / "two"))
    assert resumed.returncode == 0, resumed.stderr
    assert bytes_below(tmp_path / "two") == expected
    verify_store(tmp_path / "two")

    dump_in_one(tmp_path / "two_then_one", tokens, pair)
    assert bytes_below(tmp_path / "two_then_one") == expected
