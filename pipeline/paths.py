"""Paths as a user writes them in the configuration or in a notebook."""

import glob
import os
import re
from pathlib import Path

MAIN_TREE = "DVC_ROOT"
"""Set by DVC for the stages it runs: the work tree of the user, also where an experiment runs in a
temporary copy of it (`dvc exp run --temp`, `--queue`)."""


def expanded(text: str | Path) -> Path:
    """The path with `~` and `$NAME` replaced as a shell does; unset names, and users whom this
    machine does not know, stay as they are."""
    return Path(os.path.expanduser(os.path.expandvars(text)))  # noqa: PTH111 - never raises


def located(text: str | Path) -> Path:
    """An input that the configuration names. One that is missing in an experiment's temporary copy
    of the work tree, as files outside of git are, is looked for in the work tree itself."""
    path = expanded(text)
    return path if path.exists() else in_main_tree(path)


def matching(pattern: str) -> list[Path]:
    """What the path or the glob of an input names, looked for as `located` does. A path that is
    there is taken as it stands: brackets in its name make no glob of it."""
    for path in (expanded(pattern), in_main_tree(pattern)):
        if path.exists():
            return [path]
        if found := glob.glob(str(path), recursive=True):  # noqa: PTH207
            return [Path(name) for name in found]
    return []


def in_main_tree(path: str | Path) -> Path:
    """The path, a relative one seen from the work tree of the user; what is kept there stays when
    DVC removes an experiment's temporary copy."""
    root = os.environ.get(MAIN_TREE)
    path = expanded(path)
    return path if root is None or Path(root).absolute() == Path.cwd() else Path(root) / path


POINTER = b"version https://git-lfs"
"""How the files begin that Git leaves in place of large ones, where Git LFS did not run."""


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer of Git LFS, which stands for a file that was not fetched."""
    try:
        with path.open("rb") as file:
            return file.read(len(POINTER)) == POINTER
    except OSError:
        return False


def pointer_remedy(path: Path) -> str:
    """What to do where `path` is such a pointer."""
    return f"{path} is a pointer of Git LFS and not the file it stands for: run `git lfs pull`"


N_SHOWN = 2
"""Last parts of a path elsewhere on the machine that are shown."""
AMONG_WORDS = re.compile(r"""(?<=[=\[,'"\s])/[^\s,\]'"]+""")


def shortened(text: str) -> str:
    """The text with its absolute paths as others may see them: from the work tree, else from the
    home folder, else the last parts alone."""
    if text.startswith("/"):
        return _short(text)
    return AMONG_WORDS.sub(lambda found: _short(found[0]), text)


def _short(path: str) -> str:
    whole, tree, home = Path(path), in_main_tree(".").absolute(), Path.home()
    if whole.is_relative_to(tree):
        return str(whole.relative_to(tree))
    if whole.is_relative_to(home):
        return f"~/{whole.relative_to(home)}"
    parts = whole.parts[1:]
    return path if len(parts) <= N_SHOWN else f"…/{'/'.join(parts[-N_SHOWN:])}"
