"""Where a change acts: on which tokens, and in the text of which sources.

Each counts by the change's squares there, sum h^2, so that rows on which it is strong say most.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.text.pieces import Pieces


@dataclass
class Where:
    """by_token, by_source: sum h^2 on each token id, and on each source by its number."""

    by_token: Counter[int] = field(default_factory=Counter)
    by_source: Counter[int] = field(default_factory=Counter)

    @classmethod
    def together(cls, parts: Sequence["Where"]) -> "Where":
        """What several processes counted."""
        whole = cls()
        for part in parts:
            whole.by_token.update(part.by_token)
            whole.by_source.update(part.by_source)
        return whole

    def see(
        self,
        token_id_B: NDArray[np.integer],
        source_B: NDArray[np.integer],
        h_B: NDArray[np.floating],
    ) -> None:
        """Count a batch of rows."""
        on = h_B.nonzero()[0]
        square_N = h_B[on].astype(np.float64) ** 2
        for counter, ids_N in (
            (self.by_token, token_id_B[on]),
            (self.by_source, source_B[on]),
        ):
            ids, of = np.unique(ids_N, return_inverse=True)
            sums = np.bincount(of, square_N, minlength=len(ids))
            counter.update(dict(zip(ids.tolist(), sums.tolist(), strict=True)))

    def tokens(self, pieces: Pieces, n: int) -> list[tuple[str, float]]:
        """The n tokens with the largest shares, and their shares."""
        total = sum(self.by_token.values())
        most = sorted(self.by_token.items(), key=lambda item: (-item[1], item[0]))[:n]
        return [(pieces.single(token), square / total) for token, square in most]

    def sources(self, names: Sequence[str]) -> list[tuple[str, float]]:
        """Every source and its share."""
        total = max(sum(self.by_source.values()), 1e-30)
        return [(name, self.by_source[number] / total) for number, name in enumerate(names)]
