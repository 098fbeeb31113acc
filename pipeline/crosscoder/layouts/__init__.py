"""Layouts of a crosscoder on disk: this project's and two public ones, each read and written.

`find` picks the weights file of a folder (`source.py`), its tensors' names tell the layout, and
every reader returns `Weights`, whose shapes and values are checked before anything is copied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Literal

from pipeline.crosscoder.layouts import learning, own, reference
from pipeline.crosscoder.layouts.source import Source, find
from pipeline.crosscoder.weights import Outline, Weights
from pipeline.errors import ArtifactError

Layout = Literal["own", "reference", "learning"]
"""How weights lie on disk: `own.py`, `reference.py`, `learning.py`."""

WRITERS = {"own": own.write, "reference": reference.write, "learning": learning.write}


def read(path: Path) -> Weights:
    """The crosscoder at `path`, a folder or a weights file of any known layout.

    Raises MissingArtifactError where there is none and ArtifactError where it cannot be read.
    """
    source = find(path)
    with _named(source):
        return _layout(source).read(source)


def outline(path: Path) -> Outline:
    """What the crosscoder at `path` tells of itself without its weights being read. Errors are
    those of `read`, as far as they show."""
    source = find(path)
    with _named(source):
        return _layout(source).outline(source)


def _layout(source: Source) -> ModuleType:
    """The module that reads the source."""
    if source.path.name == own.WEIGHTS:
        return own
    return reference if "W_dec" in source.headers else learning


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """Name the file in errors that name none."""
    try:
        yield
    except ArtifactError as error:
        known = (source.path, source.told_by, source.path.parent / own.CONFIG)
        if any(str(path) in str(error) for path in known if path):
            raise
        raise type(error)(f"{source.path}: {error}") from error


def write(weights: Weights, folder: Path, layout: Layout) -> None:
    """Write the weights to `folder`. ArtifactError where the layout cannot hold them."""
    WRITERS[layout](weights, folder)
