"""A small store with every array of the activation layout."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.store import StoreLayout, StoreWriter, activation_layout
from pipeline.store.codecs import CODECS
from tests.store.numbered import D_MODEL, N_ROWS, ROWS_PER_CHUNK, numbered_rows


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing to the disk takes most of a small store's time and changes no byte of it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=CODECS)
def layout(request: pytest.FixtureRequest) -> StoreLayout:
    """Every test of a store runs under every codec."""
    return activation_layout(2, D_MODEL, ROWS_PER_CHUNK, request.param)


@pytest.fixture
def make_store(tmp_path: Path, layout: StoreLayout) -> Callable[..., Path]:
    """Writes a sealed store of numbered rows."""

    def make(name: str = "store.zarr", first_row: int = 0, layout: StoreLayout = layout) -> Path:
        path = tmp_path / name
        with StoreWriter.open(path, layout) as writer:
            writer.append(numbered_rows(layout, first_row, first_row + N_ROWS))
            writer.finish()
        return path

    return make
