"""The mean difference at each of the first positions of unrelated text: the difference lens.

A model tuned on one narrow thing differs from its base on any text, and most on its first tokens,
where there is little to read yet: the mean of h_IT - h_base there is a vector that names what the
tuning was about. Source: Minder, Dumas et al. 2025, "Narrow Finetuning Leaves Clearly Readable
Traces in Activation Differences", arXiv 2510.13900.

Position 1 is the first token after what begins a sequence, as `rows_of` counts. Beside each mean
stand random directions that lie as the model's own activations do, a_k = sum_i s_ki (h_i - mean) /
sqrt(N) with random signs s over the documents i: no direction of another covariance would promote
words of the language as readily.

Letters: N documents, P positions, M models (base, IT), D d_model, K draws, S tokens of a sequence.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.splicing import HookedModel

Floats = NDArray[np.float64]


class SequenceReader(Protocol):
    """A token store, or what reads like one: rows are sequences."""

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]: ...


@dataclass(frozen=True)
class PositionMeans:
    """n documents; mean_PMD of both models' rows; length_PM root mean square length of a row;
    square_P mean of |h_IT - h_base|^2; random_KPD directions as the base model's rows lie. Raw
    units."""

    n: int
    mean_PMD: Floats
    length_PM: Floats
    square_P: Floats
    random_KPD: Floats

    @property
    def difference_PD(self) -> Floats:
        return self.mean_PMD[:, 1] - self.mean_PMD[:, 0]


def document_starts(
    tokens: SequenceReader,
    blocks: Sequence[tuple[int, int]],
    codes: Collection[int],
    *,
    n_tokens: int,
    n_documents: int,
) -> NDArray[np.int64]:
    """[N, n_tokens] the first tokens of at most `n_documents` documents of the sources `codes`.

    blocks: ranges of sequences to look in, in order. Documents that begin where a sequence does are
    passed over, because the sequence before may hold their first part, and so are shorter ones.
    """
    found, n_found = [np.zeros((0, n_tokens), np.int64)], 0
    for start, stop in blocks:
        document_QS = tokens.read("document", start, stop)
        begins = np.zeros(document_QS.shape, bool)
        begins[:, 2:] = document_QS[:, 2:] != document_QS[:, 1:-1]
        begins &= np.isin(tokens.read("source", start, stop), list(codes))
        sequence, at = np.nonzero(begins[:, : document_QS.shape[1] - n_tokens + 1])
        whole = document_QS[sequence, at + n_tokens - 1] == document_QS[sequence, at]
        places = at[whole][:, None] + np.arange(n_tokens)
        ids = tokens.read("token_id", start, stop)[sequence[whole][:, None], places]
        found.append(ids[: n_documents - n_found].astype(np.int64))
        n_found += len(found[-1])
        if n_found == n_documents:
            break
    return np.concatenate(found)


@torch.inference_mode()
def position_means(
    models: tuple[HookedModel, HookedModel],
    ids_NP: NDArray[np.int64],
    *,
    start_id: int | None,
    n_draws: int,
    batch_documents: int,
    random: torch.Generator,
    device: torch.device,
) -> PositionMeans:
    """The means over documents that each begin a sequence of their own. Where no token begins
    sequences, the first token of each document stands in its place and gives no row."""
    sums = _Sums(n_draws, random)
    for rows_BPMD in _rows(models, ids_NP, start_id, batch_documents, device):
        sums.add(rows_BPMD.double())
    return sums.finish()


def _rows(
    models: tuple[HookedModel, HookedModel],
    ids_NP: NDArray[np.int64],
    start_id: int | None,
    batch_documents: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """[B, P, M, D] of each batch of documents."""
    for at in range(0, len(ids_NP), batch_documents):
        ids = torch.from_numpy(ids_NP[at : at + batch_documents]).to(device)
        if start_id is not None:
            ids = torch.cat([torch.full_like(ids[:, :1], start_id), ids], dim=1)
        yield torch.stack([model.residual(ids)[:, 1:].float() for model in models], dim=2)


class _Sums:
    """Running sums in float64: over documents, of squares, and with random signs."""

    def __init__(self, n_draws: int, random: torch.Generator) -> None:
        self._n_draws, self._random = n_draws, random
        self._n = 0
        self._sum = self._own = self._square = self._signed = self._signs = torch.zeros(())

    def add(self, rows_BPMD: Tensor) -> None:
        base_BPD, it_BPD = rows_BPMD.unbind(dim=2)
        coin = torch.randint(2, (self._n_draws, len(rows_BPMD)), generator=self._random)
        sign_KB = (2.0 * coin - 1).to(rows_BPMD)
        self._n += len(rows_BPMD)
        self._sum = self._sum.to(rows_BPMD) + rows_BPMD.sum(dim=0)
        self._own = self._own.to(rows_BPMD) + rows_BPMD.square().sum(dim=(0, 3))
        square_BP = (it_BPD - base_BPD).square().sum(dim=2)
        self._square = self._square.to(rows_BPMD) + square_BP.sum(dim=0)
        signed_KPD = torch.einsum("kb,bpd->kpd", sign_KB, base_BPD)
        self._signed = self._signed.to(rows_BPMD) + signed_KPD
        self._signs = self._signs.to(rows_BPMD) + sign_KB.sum(dim=1)

    def finish(self) -> PositionMeans:
        mean_PMD = self._sum / self._n
        centred_KPD = self._signed - self._signs[:, None, None] * mean_PMD[:, 0]
        return PositionMeans(
            n=self._n,
            mean_PMD=mean_PMD.cpu().numpy(),
            length_PM=(self._own / self._n).sqrt().cpu().numpy(),
            square_P=(self._square / self._n).cpu().numpy(),
            random_KPD=(centred_KPD / self._n**0.5).cpu().numpy(),
        )
