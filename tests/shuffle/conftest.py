"""Stores of tests are not flushed to the disk."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing to the disk takes most of a small store's time and changes no byte of it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
