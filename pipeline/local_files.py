"""Local files that a configuration names: text files, model folders, finished crosscoders.

They lie outside the graph, where DVC looks at nothing. The stage `local_files` records what they
are, for DVC to compare, and the stages that read them make the same digests part of what their
artifacts were made of. A file is read anew only where its size or one of its times has changed.
"""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import sha256_file, write_json
from pipeline.paths import in_main_tree, located, matching

SECTIONS = ("models", "sources", "crosscoder", "explain")
MEMORY = Path("data/.work/local_files.json")
# Of a mapping in the configuration: its `kind`, and the key under which it names files.
FOLDERS = {"local": "path", "pretrained": "path"}
GLOBS = {"files": "paths"}
TREES = {"hub": "dataset"}  # which may be a folder in the hub's layout
NOT_READ = (".md",)
SETTLED_SECONDS = 2.0
"""A file younger than this may be written again within one tick of its clock."""


def digests(section: Any, memory: Path = MEMORY) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 of every local file that a section of the configuration names, by path.

    What is not there is left out: the stage that reads it says so.
    """
    known = _Memory(memory)
    files = {_name(path): known.describe(path) for path in sorted(set(_files(section)))}
    known.save()
    return files


def _files(section: Any) -> Iterator[Path]:
    """The files that a section names at any depth."""
    if isinstance(section, list):
        for item in section:
            yield from _files(item)
    if not isinstance(section, Mapping):
        return
    kind = str(section.get("kind"))
    if kind in GLOBS:
        for pattern in section[GLOBS[kind]]:
            yield from (path for path in matching(pattern) if path.is_file())
    if kind in TREES and isinstance(section.get(TREES[kind]), str):
        yield from _in_tree(located(section[TREES[kind]]))
    if kind in FOLDERS and section[FOLDERS[kind]] is not None:
        yield from _in_folder(located(section[FOLDERS[kind]]) / (section.get("subfolder") or ""))
    for value in section.values():
        yield from _files(value)


def _name(file: Path) -> str:
    """The path from the user's work tree where the file lies in it: the same for an experiment
    that runs in a temporary copy of the tree."""
    tree = in_main_tree(".").absolute()
    return str(file.relative_to(tree)) if file.is_relative_to(tree) else str(file)


def _in_tree(path: Path) -> Iterator[Path]:
    """What a reader of the folder may read: files at any depth, hidden ones left out."""
    for file in path.rglob("*") if path.is_dir() else ():
        parts = file.relative_to(path).parts
        if file.is_file() and not any(part.startswith(".") for part in parts):
            yield file


def _in_folder(path: Path) -> Iterator[Path]:
    """What a reader of the folder may read: its own files, hidden ones and notes left out. A file
    of weights is read with the JSON beside it that tells what they are."""
    candidates = path.iterdir() if path.is_dir() else [path, *path.parent.glob("*.json")]
    for file in candidates:
        if file.is_file() and not file.name.startswith(".") and file.suffix not in NOT_READ:
            yield file


class _Memory:
    """Digests of files by absolute path, each with the size and times that the file had."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.known: dict[str, Any] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            self.known = {}
        self.is_changed = False

    def describe(self, file: Path) -> dict[str, Any]:
        """Bytes and sha256 of a file, which is read only where it may have changed."""
        key, before = str(file.absolute()), _stamp(file)
        record = self.known.get(key)
        if record is None or record["stamp"] != before:
            record = {"stamp": before, "sha256": sha256_file(file)}
            self.known[key] = record
            self.is_changed = True
            # Written to meanwhile or a moment ago: the next look reads it again.
            if _stamp(file) != before or time.time() - before[1] / 1e9 < SETTLED_SECONDS:
                del self.known[key]
        return {"bytes": before[0], "sha256": record["sha256"]}

    def save(self) -> None:
        if self.is_changed:
            write_json(self.path, self.known)


def _stamp(file: Path) -> list[int]:
    """Size in bytes, and the times of the last change of contents and of the file itself in ns."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
