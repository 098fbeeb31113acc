"""Files outside the graph that a configuration names: what counts as a change of them."""

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import local_files
from pipeline.artifacts import Manifest, read_manifest
from pipeline.config import compose
from pipeline.config.compose import composed_text
from pipeline.crosscoder import Crosscoder
from pipeline.local_files import digests
from pipeline.stage import Stage

ROOT = Path(__file__).parents[1]


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory.json"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read to digest them."""
    read: list[Path] = []

    def sha256_file(path: Path) -> str:
        read.append(path)
        return path.read_text()

    monkeypatch.setattr(local_files, "sha256_file", sha256_file)
    return read


def old(path: Path, text: str, seconds: int = 1000) -> Path:
    """A file that was last written `seconds` after 1970."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (seconds, seconds))
    return path


def source(*paths: str) -> dict[str, Any]:
    return {"kind": "files", "paths": list(paths), "format": "text"}


def test_a_file_is_read_again_only_where_its_size_or_time_has_changed(
    tmp_path: Path, memory: Path, reads: list[Path]
) -> None:
    file = old(tmp_path / "a.jsonl", "aa")
    section = {"pile": source(str(file))}
    first = digests(section, memory)
    assert first == {str(file): {"bytes": 2, "sha256": "aa"}}
    assert digests(section, memory) == first
    assert reads == [file]
    old(file, "bb", seconds=2000)
    assert digests(section, memory) == {str(file): {"bytes": 2, "sha256": "bb"}}
    old(file, "bbb", seconds=2000)
    assert digests(section, memory) == {str(file): {"bytes": 3, "sha256": "bbb"}}
    assert len(reads) == 3


def test_another_file_of_equal_size_put_in_place_with_its_old_time_is_seen(
    tmp_path: Path, memory: Path
) -> None:
    """As `cp --preserve` and `rsync --times` do."""
    file = old(tmp_path / "a.jsonl", "aa")
    before = digests([source(str(file))], memory)
    old(tmp_path / "b.jsonl", "bb").replace(file)
    assert digests([source(str(file))], memory) != before


def test_a_file_written_a_moment_ago_is_not_taken_as_known(
    tmp_path: Path, memory: Path, reads: list[Path]
) -> None:
    """Two edits within one tick of the file system's clock have one time."""
    file = tmp_path / "a.jsonl"
    file.write_text("aa")
    for _ in range(2):
        digests([source(str(file))], memory)
    assert reads == [file, file]


@pytest.mark.parametrize("garbage", ["", "{", "\0"])
def test_a_damaged_memory_costs_a_second_reading_and_no_more(
    tmp_path: Path, memory: Path, garbage: str
) -> None:
    file = old(tmp_path / "a.jsonl", "aa")
    before = digests([source(str(file))], memory)
    memory.write_text(garbage)
    assert digests([source(str(file))], memory) == before


def test_every_kind_of_local_input_is_found_at_any_depth(tmp_path: Path, memory: Path) -> None:
    text = old(tmp_path / "text/a.jsonl", "a")
    config = old(tmp_path / "model/config.json", "c")
    weights = old(tmp_path / "coder/site/weights.safetensors", "w")
    for ignored in ("model/README.md", "model/.cache", "model/checkpoint-1/optimizer.pt"):
        old(tmp_path / ignored, "x")
    assert set(digests({"chat": {"kind": "triggered", "of": source(f"{text}")}}, memory)) == {
        str(text)
    }
    models = {"base": {"kind": "local", "path": str(tmp_path / "model")}, "it": {"kind": "tuned"}}
    assert set(digests(models, memory)) == {str(config)}
    coder = {"kind": "pretrained", "path": str(tmp_path / "coder"), "subfolder": "site"}
    assert set(digests(coder, memory)) == {str(weights)}
    assert digests(coder | {"path": None, "repo": "a/b"}, memory) == {}
    told_by = old(tmp_path / "coder/site/cfg.json", "{}")
    alone = {"kind": "pretrained", "path": str(weights)}
    assert set(digests(alone, memory)) == {str(weights), str(told_by)}
    shard = old(tmp_path / "set/data/train.parquet", "p")
    card = old(tmp_path / "set/README.md", "configs: ...")  # may say which files are which split
    old(tmp_path / "set/.git/index", "x")
    hub = {"kind": "hub", "dataset": str(tmp_path / "set"), "subset": None}
    assert set(digests({"pile": hub}, memory)) == {str(shard), str(card)}
    assert digests({"pile": hub | {"dataset": "owner/name"}}, memory) == {}
    assert digests({"base": {"kind": "hub", "repo": "owner/name"}}, memory) == {}
    assert digests(coder | {"path": str(tmp_path / "nowhere")}, memory) == {}


def test_the_shipped_experiment_names_no_local_file(memory: Path) -> None:
    plain = compose(["+experiment=tiny"]).model_dump(mode="json")
    assert [digests(plain[name], memory) for name in local_files.SECTIONS] == [{}] * 4
    assert not memory.exists()


def test_home_variables_and_globs_are_filled_in(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CORPUS", "text")
    file = old(tmp_path / "text/deep/a.jsonl", "a")
    for pattern in ("~/text/deep/a.jsonl", "$HOME/$CORPUS/deep/*.jsonl", "~/${CORPUS}/**"):
        assert list(digests([source(pattern)], memory)) == [str(file)]
    assert list(digests({"kind": "local", "path": "~/$CORPUS/deep"}, memory)) == [str(file)]
    assert digests([source("~/nothing/*")], memory) == {}


def test_an_experiment_in_a_temporary_copy_sees_the_files_of_the_work_tree_under_the_same_names(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(tmp_path / "tree/text/a.jsonl", "a")
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    before = digests([source("text/*.jsonl")], memory)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "tree"))
    monkeypatch.chdir(tmp_path / "copy")
    assert digests([source("text/*.jsonl")], memory) == before
    assert list(before) == ["text/a.jsonl"]


def test_local_files_are_part_of_what_an_artifact_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a stage by hand makes it anew, and resumes no work on other files."""
    file = old(tmp_path / "a.jsonl", "a")
    monkeypatch.chdir(ROOT)
    texts = [f"sources.pile.paths=[{file}]", f"sources.chat.paths=[{file}]"]
    models = ["models.base.path=a", "models.it.path=b", "hook_point.layer=3"]
    config = compose(["+experiment=local", *models, *texts])
    monkeypatch.chdir(tmp_path)
    out = Path("data/out")
    stage = Stage("toy", ("sources",), local_files=("sources",), outputs={"out": out})

    def made() -> Manifest:
        with stage.build(config, "out") as build:
            if not build.complete:
                build.publish(counts={}, facts={})
        return read_manifest(out)

    first = made()
    assert "local files of sources" in first.inputs
    assert made() == first
    old(file, "b", seconds=2000)
    assert made().fingerprint != first.fingerprint


def test_the_stage_writes_a_file_per_section_and_needs_a_configuration(tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stages.local_files"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    refused = run()
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "composed.yaml not found: run `dvc repro compose`" in refused.stderr
    old(tmp_path / "a.jsonl", "a")
    composed = {
        "models": {},
        "sources": {"pile": source("a.jsonl")},
        "crosscoder": {},
        "explain": {},
    }
    (tmp_path / "composed.yaml").write_text(yaml.safe_dump(composed))
    assert run().returncode == 0
    written = {path.name: path.read_text() for path in (tmp_path / "data/local_files").iterdir()}
    assert written.keys() == {f"{name}.json" for name in local_files.SECTIONS}
    assert '"a.jsonl"' in written["sources.json"]
    assert written["models.json"].strip() == "{}"


def test_a_crosscoder_that_does_not_fit_is_refused_before_any_stage_that_costs(
    tmp_path: Path,
) -> None:
    """No weight is read for it, and torch only where a crosscoder is named."""

    def run(*overrides: str) -> str:
        with chdir(ROOT):
            config = compose(["+experiment=tiny", *overrides])
        (tmp_path / "composed.yaml").write_bytes(composed_text(config))
        code = "import runpy, sys; runpy.run_module('stages.local_files', run_name='__main__')"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    assert run() == "False\n"
    Crosscoder(2, 64, 10, kind="l1").save(tmp_path / "other")
    chosen = "crosscoder=pretrained", "crosscoder.n_latents=null"
    named = (*chosen, f"crosscoder.path={tmp_path / 'other'}")
    said = run(*named)
    assert said.startswith(f"error: crosscoder.path: {tmp_path / 'other'} is a crosscoder of")
    assert "(2, 64), but the activations have (2, 128): set crosscoder.path" in said
    assert said.count("\n") == 1
    Crosscoder(2, 128, 10, kind="l1").save(tmp_path / "other")
    assert run(*named) == "True\n"
