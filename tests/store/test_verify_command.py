"""`python -m stages.verify PATH` as a user types it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import artifacts
from pipeline.errors import ArtifactError, DamagedStoreError, SourceError
from pipeline.store import StoreLayout, StoreWriter, activation_layout, verify_store
from pipeline.store.seal import MAKE_AGAIN
from stages.verify import check
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


def test_what_the_manifest_lists_belongs_to_the_store(tmp_path: Path, layout: StoreLayout) -> None:
    """A mix keeps its own streams.json in its store; what nobody lists is still a stranger."""
    path = tmp_path / "tokens"
    with artifacts.build(path, artifact="x", format_version=1, config={}, inputs={}) as build:
        with StoreWriter.open(build.work, layout) as writer:
            writer.append(numbered_rows(layout, 0, N_ROWS))
            writer.finish()
        (build.work / "streams.json").write_text("{}")
        build.publish(counts={"n_rows": N_ROWS}, facts={})
    assert verify_store(path).n_rows == N_ROWS
    (path / "stranger.json").write_text("{}")
    with pytest.raises(DamagedStoreError, match=r"stranger\.json does not belong"):
        verify_store(path)


def test_what_is_no_store_is_told_apart_and_never_to_be_removed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    foreign = tmp_path / "mine.zarr"  # of another program; an array of a store looks so too
    foreign.mkdir()
    (foreign / "zarr.json").write_text("{}")
    for path in (tmp_path, tmp_path / "notes.txt", foreign):
        with pytest.raises(SourceError, match="expected a store or an artifact") as refused:
            check(path)
        assert "remove" not in str(refused.value)


def test_another_artifact_is_checked_file_by_file(tmp_path: Path) -> None:
    path = tmp_path / "toy"
    with artifacts.build(path, artifact="toy", format_version=1, config={}, inputs={}) as build:
        (build.work / "value").write_text("1")
        build.publish(counts={}, facts={})
    assert "1 files of toy are as they were written" in check(path)
    (path / "value").write_text("2")
    with pytest.raises(ArtifactError, match="value is damaged"):
        check(path)


def test_the_remedy_for_a_damaged_store_brings_back_every_byte(tmp_path: Path) -> None:
    """Also where the damaged file is a link to DVC's own copy, which `dvc checkout` cannot mend."""
    script = "import pathlib as p; p.Path('out').mkdir(); p.Path('out/f').write_text('good')"
    (tmp_path / "make.py").write_text(script)
    stage = {"cmd": f"{sys.executable} make.py", "deps": ["make.py"], "outs": ["out"]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"make": stage}}))

    def dvc(*words: str) -> int:
        command = [sys.executable, "-m", "dvc", *words, "-q"]
        return subprocess.run(command, cwd=tmp_path, check=False).returncode

    assert dvc("init", "--no-scm") == dvc("config", "cache.type", "hardlink") == dvc("repro") == 0
    damaged = tmp_path / "out/f"
    assert damaged.stat().st_nlink == 2
    damaged.chmod(0o644)
    damaged.write_text("evil")
    shutil.rmtree(tmp_path / "out")
    assert dvc(*MAKE_AGAIN.split()[1:], "make") == 0
    assert damaged.read_text() == "good"
    shutil.rmtree(tmp_path / "out")
    assert dvc("checkout") == 0
    assert damaged.read_text() == "good"


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
