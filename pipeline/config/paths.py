"""Paths as users write them in the configuration: `~` and `$HOME` are filled in everywhere."""

import os
from pathlib import Path


def local_path(written: str) -> Path:
    """The path that a configuration key stands for, relative to the repository root or absolute."""
    return Path(os.path.expandvars(written)).expanduser()
