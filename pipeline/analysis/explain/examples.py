"""Rows that the writer sees, and rows of other documents that its sentence is judged by.

Documents with an even number are shown, those with an odd number are judged. Of the judged rows
half are active; of the inactive ones half are near misses, of a token on which the subject is
active elsewhere, so that a sentence which names the token alone does not pass.

Letters: N rows, J subjects.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
COLUMNS = ("token_id", "document", "sequence", "position")


@dataclass(frozen=True)
class Chosen:
    """Numbers of rows. shown: the strongest first; of those that are judged, active, near and other
    ones."""

    shown: Ints
    active: Ints
    near: Ints
    other: Ints


def choose(
    activity_N: NDArray[np.floating],
    columns: Mapping[str, NDArray[Any]],
    *,
    n_shown: int,
    n_judged: int,
    random: np.random.Generator,
) -> Chosen | None:
    """The examples of one subject; None where it is active in too few documents."""
    document, token = columns["document"], columns["token_id"]
    is_active, is_judged = activity_N > 0, document % 2 == 1
    seen = np.flatnonzero(is_active & ~is_judged)
    strongest = seen[np.argsort(-activity_N[seen], kind="stable")]
    top = _of_documents(strongest, document, -(-n_shown // 2))
    rest = np.setdiff1d(seen, top)
    shown = np.concatenate([top, _drawn(rest, document, n_shown - len(top), random)])
    active = _drawn(np.flatnonzero(is_active & is_judged), document, n_judged // 2, random)
    silent = np.flatnonzero(~is_active & is_judged)
    is_near = np.isin(token[silent], np.unique(token[is_active]))
    near = _drawn(silent[is_near], document, n_judged // 4, random)
    n_other = len(active) - len(near)
    other = _drawn(np.setdiff1d(silent, near), document, n_other, random)
    if len(shown) < 2 or len(active) < 2 or not len(near) + len(other):
        return None
    return Chosen(shown, active, near[: len(active)], other)


def _drawn(rows: Ints, document: NDArray[Any], n: int, random: np.random.Generator) -> Ints:
    return _of_documents(random.permutation(rows), document, n)


def _of_documents(rows: Ints, document: NDArray[Any], n: int) -> Ints:
    """The first `n` rows, none of a document that had one before."""
    _, first = np.unique(document[rows], return_index=True)
    return rows[np.sort(first)[: max(0, n)]]
