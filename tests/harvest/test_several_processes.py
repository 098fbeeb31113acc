"""Two processes write the store that one writes, to the byte, also after a kill of one of them."""

import shutil
import signal
from pathlib import Path

import pytest

from pipeline.harvest.dump import dump
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sink import Target
from pipeline.store import StoreReader, StoreWriter, verify_store
from tests.forks import forks
from tests.harvest.several_processes import BATCH_TOKENS, ROWS_PER_CHUNK
from tests.store.numbered import bytes_below


def dump_in_one(path: Path, tokens: StoreReader, pair: HookedPair) -> None:
    dump(
        [Target(lambda layout, n_rows: StoreWriter.open(path, layout))],
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

    with forks("tests.harvest.several_processes", tmp_path) as dumping:
        arguments = str(tokens.path), str(tmp_path / "two")
        killed = dumping.run(*arguments, "1", "2", n_processes=2)
        assert killed.statuses == [2, -signal.SIGKILL]
        assert killed.said.count("another process of this job has ended") == 1, killed.said
        assert not (tmp_path / "two" / "seal.json").exists()
        assert len(list((tmp_path / "two").glob("journal*.jsonl"))) == 2
        shutil.copytree(tmp_path / "two", tmp_path / "two_then_one")
        dumping.finish(*arguments, n_processes=2)
    assert bytes_below(tmp_path / "two") == expected
    verify_store(tmp_path / "two")

    dump_in_one(tmp_path / "two_then_one", tokens, pair)
    assert bytes_below(tmp_path / "two_then_one") == expected
