"""Rows that tell their own number, and stores compared byte by byte."""

from pathlib import Path

import numpy as np

from pipeline.store import StoreLayout
from pipeline.store.epochs import EpochOrder

D_MODEL = 8
ROWS_PER_CHUNK = 16
N_ROWS = 150  # nine whole chunks and one of six rows


def numbered_rows(layout: StoreLayout, start: int, stop: int) -> dict[str, np.ndarray]:
    """Rows in which every value follows from its row number and its place in the row."""
    rows = np.arange(start, stop, dtype=np.int64)
    arrays = {}
    for i, spec in enumerate(layout.arrays):
        values = rows.reshape(-1, *(1 for _ in spec.shape)) * 31 + i
        values = values + np.arange(np.prod(spec.shape, dtype=int)).reshape(spec.shape) * 7
        arrays[spec.name] = (values % min(np.iinfo(spec.dtype).max, 60_000)).astype(spec.dtype)
    return arrays


def stored_rows(order: EpochOrder, window: int) -> np.ndarray:
    """The stored row of each of a window's rows, in the order in which they are served."""
    rows, length = order.window_order(window), order.rows_per_chunk
    return order.window_chunks(window)[rows // length] * length + rows % length


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Relative path and contents of every file."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
