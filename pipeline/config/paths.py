"""Paths as users write them in the configuration: `~` and `$HOME` are filled in everywhere."""

from pathlib import Path

from pipeline.paths import located_pattern


def local_path(written: str) -> Path:
    """The path or glob that a configuration key stands for, relative to the root of the repository
    or absolute; see `located` on experiments that run in a temporary copy of it."""
    return located_pattern(written)
