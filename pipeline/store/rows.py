"""What a producer of rows needs of the writer it is given, whatever becomes of the rows."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from pipeline.store.layout import StoreLayout


class RowWriter(AbstractContextManager["RowWriter"], Protocol):
    """Takes rows in order, a StoreWriter or one that deals them to buckets.

    next_row: where to go on after a kill; stop_row: where this process ends at the latest
    sealed: whether all rows are on disk already
    """

    @property
    def next_row(self) -> int: ...

    @property
    def stop_row(self) -> int: ...

    @property
    def sealed(self) -> bool: ...

    def append(self, arrays: Mapping[str, np.ndarray], /) -> None: ...

    def finish(self) -> int: ...


class OpenWriter(Protocol):
    """Opens a writer for rows of this layout, as many as `n_rows`."""

    def __call__(self, layout: StoreLayout, n_rows: int, /) -> RowWriter: ...
