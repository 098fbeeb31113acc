"""Cells: (source, token class) pairs, the finest groups figures are kept for.

Letters: N tokens, C cells. Cell number = source * number of token classes + token class.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.labels import SOURCES, TOKEN_CLASSES

N_CELLS = len(SOURCES) * len(TOKEN_CLASSES)

CELLS = [(source, kind) for source in SOURCES for kind in TOKEN_CLASSES]

GROUPS: Mapping[str, list[int]] = {
    "all": list(range(N_CELLS)),
    **{name: [i for i, cell in enumerate(CELLS) if cell[0] == name] for name in SOURCES},
    **{name: [i for i, cell in enumerate(CELLS) if cell[1] == name] for name in TOKEN_CLASSES},
}
"""Group name -> its cells: everything, each source, each token class."""


def cells_of(
    source_N: NDArray[np.integer], token_class_N: NDArray[np.integer]
) -> NDArray[np.int64]:
    """[N] cell number of each token."""
    return source_N.astype(np.int64) * len(TOKEN_CLASSES) + token_class_N.astype(np.int64)
