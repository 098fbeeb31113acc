"""Text windows around the rows that score highest for each latent, kept while rows stream by.

Letters: B rows, J latents, T windows kept, W tokens of a window, Q sequences, S positions,
F fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.distributed import Ranks

FIELDS = ("sequence", "position", "document", "source", "token_class")
DOCUMENT = FIELDS.index("document")
NO_TOKEN = -1

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """Whole sequences of a batch: where each row's neighbours are.

    place_BF: FIELDS of each row; window_BW: rows around each row, B where the store has none
    token_BW: token ids around each row, NO_TOKEN beyond the sequence's ends
    """

    place_BF: Ints
    window_BW: Ints
    token_BW: NDArray[np.int32]


def sequences_of(
    rows: Mapping[str, NDArray[np.generic]],
    token_QS: NDArray[np.int32],
    *,
    first_sequence: int,
    before: int,
    after: int,
) -> Sequences:
    """The windows of `before` tokens, the row's own, and `after` tokens around each row.

    token_QS: of the sequences from `first_sequence` on, which hold all of the rows
    """
    place_BF = np.stack([rows[name].astype(np.int64) for name in FIELDS], axis=1)
    n_rows, width = len(place_BF), before + 1 + after
    sequence, position = place_BF[:, 0] - first_sequence, place_BF[:, 1]
    shape = (token_QS.shape[0], before + token_QS.shape[1] + after)
    row_QS = np.full(shape, n_rows, np.int64)
    row_QS[sequence, position + before] = np.arange(n_rows)
    tokens = np.full(shape, NO_TOKEN, np.int32)
    tokens[:, before : before + token_QS.shape[1]] = token_QS
    at_BW = position[:, None] + np.arange(width)
    return Sequences(place_BF, row_QS[sequence[:, None], at_BW], tokens[sequence[:, None], at_BW])


class Windows:
    """The T highest-scoring rows of each latent so far, with the activations around them.

    Bounded by J x T x (8 W + 48) bytes, however many rows are seen. Arrays are sorted by score,
    highest first; a slot that is still empty has score 0.
    before, after: tokens of a window on either side of its row
    one_per_document: keep only a document's best row for a latent
    """

    def __init__(
        self, n_latents: int, n_kept: int, *, before: int, after: int, one_per_document: bool
    ) -> None:
        shape, width = (n_latents, n_kept), before + 1 + after
        self.before = before
        self.score_JT: Floats = np.zeros(shape, np.float32)
        self.value_JT: Floats = np.zeros(shape, np.float32)
        self.place_JTF: Ints = np.full((*shape, len(FIELDS)), NO_TOKEN, np.int64)
        self.f_JTW: Floats = np.full((*shape, width), np.nan, np.float32)
        self.token_JTW: NDArray[np.int32] = np.full((*shape, width), NO_TOKEN, np.int32)
        self._one_per_document = one_per_document

    @property
    def n_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    def see(self, score_TJ: Tensor, row_TJ: Tensor, f_BJ: Tensor, around: Sequences) -> None:
        """Offer rows `row_TJ` of a batch, with their scores, for each latent."""
        if 0 in self.score_JT.shape:
            return
        # Nearly no batch has a better row for nearly any latent once a few were seen: only latents
        # whose worst kept score is beaten are gathered, merged and sorted.
        score_JT = score_TJ.T.float().cpu().numpy()
        better = np.flatnonzero(score_JT.max(axis=1, initial=0) > self.score_JT[:, -1])
        if better.size == 0:
            return
        score, row = score_JT[better], row_TJ.T.cpu().numpy()[better]
        new = self._gather(score, row, better, f_BJ, around)
        both = zip(self.arrays, new, strict=True)
        self._keep(better, [np.concatenate([old[better], own], axis=1) for old, own in both])

    def merge(self, ranks: Ranks, first_sequences: Sequence[int]) -> None:
        """Keep the best rows that any process saw. first_sequences: of each batch in order, of
        which the earlier one has the better of two equal rows, as in one process"""
        seen = ranks.everyones([self.arrays])
        together: list[Any] = [np.concatenate(each, axis=1) for each in zip(*seen, strict=True)]
        batch_JT = np.searchsorted(first_sequences, together[2][..., 0], side="right")
        order = np.argsort(batch_JT, axis=1, kind="stable")
        self._keep(np.arange(len(order)), [_taken(array, order) for array in together])

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Score, value, place, activations and tokens around of every window."""
        return (self.score_JT, self.value_JT, self.place_JTF, self.f_JTW, self.token_JTW)

    def _keep(self, latents: Ints, both: list[Any]) -> None:
        """Keep the best of more windows than there is room for, of some latents."""
        if self._one_per_document:
            # A repeated document loses its score, not its place: sorting then drops it.
            both[0] = first_of_each(both[0], both[2][..., DOCUMENT])
        order = np.argsort(-both[0], axis=1, kind="stable")[:, : self.score_JT.shape[1]]
        for kept, array in zip(self.arrays, both, strict=True):
            kept[latents] = _taken(array, order)

    def _gather(
        self, score: Floats, row: Ints, latents: Ints, f_BJ: Tensor, around: Sequences
    ) -> tuple[np.ndarray, ...]:
        column = torch.from_numpy(latents).to(f_BJ.device)[:, None]
        at = torch.from_numpy(row).to(f_BJ.device)
        window = torch.from_numpy(around.window_BW).to(f_BJ.device)[at]
        missing = window == len(f_BJ)
        f = f_BJ[window.clamp_max(len(f_BJ) - 1), column[..., None]].masked_fill(
            missing, float("nan")
        )
        value = f_BJ[at, column].float().cpu().numpy()
        return (
            score,
            value,
            around.place_BF[row],
            f.float().cpu().numpy(),
            around.token_BW[row],
        )


def _taken(array: np.ndarray, order_JT: Ints) -> np.ndarray:
    """Windows [J, T, ...] of each latent in another order."""
    index = order_JT.reshape(*order_JT.shape, *[1] * (array.ndim - 2))
    return np.take_along_axis(array, index, axis=1)


def first_of_each(score_JT: Floats, document_JT: Ints) -> Floats:
    """The scores, 0 where a higher one of the same latent has the same document."""
    order = np.argsort(-score_JT, axis=1, kind="stable")
    document = np.take_along_axis(document_JT, order, axis=1)
    score = np.take_along_axis(score_JT, order, axis=1)
    same = document[:, :, None] == document[:, None, :]
    repeated = np.tril(same & (score > 0)[:, None, :], k=-1).any(axis=2)
    kept = np.empty_like(score_JT)
    np.put_along_axis(kept, order, np.where(repeated, 0, score), axis=1)
    return kept
