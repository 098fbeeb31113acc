"""What `make` runs stays in the checkout, whatever the folder is called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUB = """#!/bin/sh
# Stands for Python: answers the version check, makes the environment that pip would fill.
case "$1 $2" in
  "-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
esac
"""
FOLDERS = [
    "plain",
    "with space",
    "two  spaces and (brackets)",
    "a'quote",
    'a"quote',
    "dollar$HOME",
    "& ;",
]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make as a user types it, although the tests may themselves run below `make test`.

    A make that finds MAKELEVEL set tells which folder it enters, among what it would run.
    """
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in outer},
    )


def checkout(folder: Path) -> Path:
    """A folder with what the environment's rule needs, and a stub in Python's place."""
    folder.mkdir(parents=True)
    for name in ("Makefile", "dvc.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    stub = folder / "stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return folder


def neighbours(folder: Path) -> list[Path]:
    """Folders that an unquoted path would name: every word of it, from here and from above."""
    words = str(folder).split()
    named = [Path(words[0]), *(folder / word / ".venv" for word in words[1:])]
    named += [folder / f"{word}/.venv" for word in folder.name.split()] + [folder / "keep"]
    return [path for path in named if path != folder]


@pytest.mark.parametrize("name", FOLDERS)
def test_environment_and_clean_touch_nothing_but_the_checkout(tmp_path: Path, name: str) -> None:
    folder = checkout(tmp_path / name)
    kept = []
    for place in neighbours(folder):
        place.mkdir(parents=True, exist_ok=True)
        kept.append(place / "precious")
        kept[-1].write_text("not the project's")

    made = make(folder, "environment", "PYTHON=./stub")
    assert made.returncode == 0, made.stderr
    assert (folder / ".venv" / "installed").exists()
    cleaned = make(folder, "clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert not (folder / ".venv").exists()
    assert [path.read_text() for path in kept] == ["not the project's"] * len(kept)


def test_no_program_is_started_by_a_script_that_names_the_folder(tmp_path: Path) -> None:
    """pip writes the folder of the environment into its scripts, where a shell reads it again."""
    folder = checkout(tmp_path / "a `touch b` $HOME")
    assert make(folder, "environment", "PYTHON=./stub").returncode == 0
    typed = make(folder, "-n", "demo", "test", "validation", "edits", "gpu-check").stdout
    programs = {line.split()[0] for line in typed.splitlines() if line.strip()}
    assert programs == {"python", "echo"}


@pytest.mark.parametrize("goal", ["clean", "environment", "demo"])
def test_a_folder_that_no_path_can_hold_is_refused_in_one_line(tmp_path: Path, goal: str) -> None:
    folder = checkout(tmp_path / "a:b")
    refused = make(folder, goal)
    assert refused.returncode == 2
    assert "colon" in refused.stderr
    assert not (folder / ".venv").exists()


def test_make_elsewhere_is_refused_and_removes_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / ".venv").mkdir(parents=True)
    refused = make(other, "-f", str(ROOT / "Makefile"), "clean")
    assert refused.returncode == 2
    assert "no dvc.yaml here" in refused.stderr
    assert (other / ".venv").exists()
