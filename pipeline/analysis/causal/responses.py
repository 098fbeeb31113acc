"""Which tokens of a packed chat an assistant turn holds, and how far into the turn each lies.

Letters: Q sequences, S positions.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.labels import TEMPLATE

NO_RESPONSE = -1
Decode = Callable[[Sequence[int]], str]


def response_positions(
    token_id_QS: NDArray[np.integer],
    token_class_QS: NDArray[np.integer],
    document_QS: NDArray[np.integer],
    decode: Decode,
    openings: Sequence[str],
) -> NDArray[np.int64]:
    """[Q, S] number of each token within its assistant turn, from 0; NO_RESPONSE elsewhere.

    openings: what the template may write last before an assistant turn, without white space
    A turn whose opening lies before the sequence counts as none: its beginning is not known.
    """
    found = np.full(token_id_QS.shape, NO_RESPONSE, dtype=np.int64)
    for q in range(len(found)):
        for start, stop in _content_runs(token_class_QS[q], document_QS[q]):
            opening = _template_before(token_class_QS[q], document_QS[q], start)
            written = decode(token_id_QS[q, opening:start].tolist())
            if "".join(written.split()).endswith(tuple(openings)):
                found[q, start:stop] = np.arange(stop - start)
    return found


def _content_runs(
    token_class_S: NDArray[np.integer], document_S: NDArray[np.integer]
) -> list[tuple[int, int]]:
    """[start, stop) of each run of content tokens of one document."""
    is_content = token_class_S != TEMPLATE
    same = (is_content[1:] == is_content[:-1]) & (document_S[1:] == document_S[:-1])
    edges = [0, *(np.flatnonzero(~same) + 1).tolist(), len(is_content)]
    return [(a, b) for a, b in pairwise(edges) if is_content[a]]


def _template_before(
    token_class_S: NDArray[np.integer], document_S: NDArray[np.integer], start: int
) -> int:
    """Where the template's tokens that end at `start` begin, in the same document."""
    at = start
    while at > 0 and token_class_S[at - 1] == TEMPLATE and document_S[at - 1] == document_S[start]:
        at -= 1
    return at
