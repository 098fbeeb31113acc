"""`python -m stages.verify PATH` as a user types it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.store import StoreLayout

ROOT = Path(__file__).parents[2]


def verify(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.verify", *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_sound_store_is_told_with_its_size(make_store: Callable[..., Path]) -> None:
    ended = verify(make_store())
    assert ended.returncode == 0, ended.stderr
    assert "150 rows, 70 chunks" in ended.stdout


def test_a_damaged_chunk_is_named_without_a_traceback(
    make_store: Callable[..., Path], layout: StoreLayout
) -> None:
    sound, damaged = make_store("sound"), make_store("damaged")
    chunk = damaged / layout.chunk_path("activations", 3)
    chunk.write_bytes(bytes(chunk.stat().st_size))
    ended = verify(sound, damaged)
    assert ended.returncode == 2
    assert "sound: 150 rows" in ended.stdout
    assert ended.stderr.startswith("error: ")
    assert "activations/c/3/0/0 (chunk 3 of activations)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_path_without_a_store_is_an_error(tmp_path: Path) -> None:
    ended = verify(tmp_path / "nowhere")
    assert ended.returncode == 2
    assert "nowhere not found" in ended.stderr
