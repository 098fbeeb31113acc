"""`python -m stages.verify PATH` as a user types it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import artifacts
from pipeline.store import StoreLayout, StoreWriter, activation_layout
from tests.store.numbered import D_MODEL, N_ROWS, ROWS_PER_CHUNK, numbered_rows

ROOT = Path(__file__).parents[2]


def verify(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.verify", *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def layout() -> StoreLayout:
    """Without a codec: each test starts an interpreter, and the reading is tested elsewhere."""
    return activation_layout(2, D_MODEL, ROWS_PER_CHUNK)


@pytest.fixture
def make_artifact(tmp_path: Path, layout: StoreLayout) -> Callable[[str], Path]:
    """Builds a store of numbered rows as a stage does, with a manifest."""

    def make(name: str) -> Path:
        path = tmp_path / name
        with artifacts.build(path, artifact=name, format_version=1, config={}, inputs={}) as build:
            with StoreWriter.open(build.work, layout) as writer:
                writer.append(numbered_rows(layout, 0, N_ROWS))
                writer.finish()
            build.publish(counts={"n_rows": N_ROWS}, facts={"d_model": 8})
        return path

    return make


def test_a_sound_store_is_told_with_its_size(make_artifact: Callable[[str], Path]) -> None:
    ended = verify(make_artifact("store"))
    assert ended.returncode == 0, ended.stderr
    assert "150 rows, 70 chunks" in ended.stdout


def test_a_damaged_chunk_is_named_without_a_traceback(
    make_artifact: Callable[[str], Path], layout: StoreLayout
) -> None:
    sound, damaged = make_artifact("sound"), make_artifact("damaged")
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


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda text: None, "manifest.json not found"),
        (lambda text: text[: len(text) // 2], "manifest.json cannot be read"),
        (lambda text: text.replace('"d_model": 8', '"d_model": 9'), "it was altered"),
        (lambda text: text.replace('"fingerprint": "', '"fingerprint": "0'), "it was altered"),
        (lambda text: re.sub(r'"sha256": "\w+"', "", text), "manifest.json cannot be read"),
    ],
)
def test_a_lost_torn_or_edited_manifest_is_refused(
    make_artifact: Callable[[str], Path], damage: Callable[[str], str | None], complaint: str
) -> None:
    manifest = make_artifact("store") / "manifest.json"
    text = damage(manifest.read_text())
    manifest.unlink() if text is None else manifest.write_text(text)
    ended = verify(manifest.parent)
    assert ended.returncode == 2
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr
