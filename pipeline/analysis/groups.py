"""Cells: (source, token class) pairs, the finest groups figures are kept for.

Letters: N tokens, C cells. Cell number = source * number of token classes + token class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.labels import TOKEN_CLASSES
from pipeline.store import StoreReader


@dataclass(frozen=True)
class Cells:
    """The cells of a store whose rows come from these sources, in the order of their codes."""

    sources: tuple[str, ...]

    @classmethod
    def of(cls, reader: StoreReader) -> Self:
        """The cells of a store that is open."""
        return cls(reader.layout.sources)

    @property
    def n(self) -> int:
        return len(self.sources) * len(TOKEN_CLASSES)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Source and token class of each cell."""
        return [(source, kind) for source in self.sources for kind in TOKEN_CLASSES]

    @cached_property
    def groups(self) -> Mapping[str, list[int]]:
        """Group name -> its cells: everything, each source, each token class."""
        names = (*self.sources, *TOKEN_CLASSES)
        of_name = {name: [i for i, pair in enumerate(self.pairs) if name in pair] for name in names}
        return {"all": list(range(self.n)), **of_name}


def cells_of(
    source_N: NDArray[np.integer], token_class_N: NDArray[np.integer]
) -> NDArray[np.int64]:
    """[N] cell number of each token."""
    return source_N.astype(np.int64) * len(TOKEN_CLASSES) + token_class_N.astype(np.int64)
