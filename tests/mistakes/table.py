"""A user's mistake as a row: what was typed, where, and the words that the answer must hold."""

import contextlib
import io
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[2]
TINY = "+experiment=tiny"
Edit = str | bytes | None | Callable[[str], str]
"""What becomes of a file: its new text or bytes, None to remove it, or a change of its text."""


@dataclass(frozen=True)
class Mistake:
    """One row.

    name: the mistake; stage: the module below `stages` that is started; typed: its arguments
    files: what was edited in the folder, which holds a copy of `conf/` and `params.yaml`
    words: what the one line must hold: key or path, found, expected, remedy
    prepare: makes what text does not, such as folders, links and rights
    around: the machine as it is meanwhile: a full disk, a user without rights, a signal
    status: 2, or 128 and the number of the signal
    """

    name: str
    words: tuple[str, ...]
    typed: tuple[str, ...] = ()
    stage: str = "compose"
    files: Mapping[str, Edit] = field(default_factory=dict)
    prepare: Callable[[Path], None] = lambda folder: None
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    status: int = 2

    @property
    def begins(self) -> str:
        """How the answer begins."""
        return "error: " if self.status == 2 else f"{self.stage}: stopped by "

    def __str__(self) -> str:
        return self.name


def laid_out(mistake: Mistake, folder: Path) -> None:
    """Fill `folder` with what the user had."""
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copy(ROOT / "params.yaml", folder)
    for name, edit in mistake.files.items():
        write(folder / name, edit)
    mistake.prepare(folder)


def write(file: Path, edit: Edit) -> None:
    """Give a file its new content, or remove it."""
    if edit is None:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    text = edit(file.read_text()) if callable(edit) else edit
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def in_this_process(mistake: Mistake, folder: Path) -> tuple[int, str]:
    """Exit status and what went to stderr, through the stage's own entry."""
    said, status = io.StringIO(), 0
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", [mistake.stage, *mistake.typed]),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
        mistake.around(),
    ):
        try:
            runpy.run_module(f"stages.{mistake.stage}", run_name="__main__", alter_sys=False)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return status, said.getvalue()


def as_a_process(mistake: Mistake, folder: Path) -> tuple[int, str]:
    """The same, typed into a shell."""
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{mistake.stage}", *mistake.typed],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def check(mistake: Mistake, status: int, said: str) -> None:
    """The answer is one line that holds every word, and the status is the one for it."""
    assert "Traceback" not in said, said
    assert status == mistake.status, said
    lines = [line for line in said.splitlines() if line.startswith(mistake.begins)]
    assert len(lines) == 1, said
    assert said.splitlines()[-1] == lines[0], f"more than one line:\n{said}"
    for word in mistake.words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"
