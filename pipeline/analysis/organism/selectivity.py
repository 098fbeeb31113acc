"""Which latents fire on a planted behaviour and nowhere else, on two halves of held-out documents.

One half chooses latents, the other tests them, so that no latent is judged by the rows that it
was picked on.

Letters: B rows, L latents, H halves (of documents, by even and odd number), R regions (outside,
trigger, opening, response), S sites (before the reply, in the reply), E triggered exchanges.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.heldout import Rows
from pipeline.crosscoder import Crosscoder
from pipeline.errors import MismatchError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_REGIONS = 4
SITES = ("before", "reply")
REGIONS_OF_SITE = {"before": [1, 2], "reply": [3]}
"""Before the reply: the trigger and the template's opening; in it: the planted response."""
CHOOSING, TESTING = 0, 1
MAX_EXCHANGES = 512


class Planted(Protocol):
    """A held-out document with the regions of its tokens."""

    @property
    def id(self) -> int: ...
    @property
    def token_id(self) -> NDArray[np.int32]: ...
    @property
    def region(self) -> NDArray[np.uint8]: ...
    @property
    def exchange(self) -> NDArray[np.int32]: ...


@dataclass(frozen=True)
class RowLabels:
    """Per held-out row: region [N], half [N], exchange [N] (numbered over all documents, -1 where
    none). n_exchanges: numbers given out."""

    region: NDArray[np.uint8]
    half: NDArray[np.uint8]
    exchange: Ints
    n_exchanges: int


def places_in_documents(
    source_QS: NDArray[np.integer], document_QS: NDArray[np.integer], is_text_QS: NDArray[np.bool_]
) -> Ints:
    """[Q, S] how many tokens of its document come before each token in the sequences, which stand
    in the order of the mix; 0 where is_text_QS is not, as at the start of a sequence."""
    place_QS = np.zeros(document_QS.shape, np.int64)
    key = np.stack([source_QS[is_text_QS], document_QS[is_text_QS]], axis=1).astype(np.int64)
    _, group, size = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(group.reshape(-1), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    place_QS[is_text_QS] = place
    return place_QS


def label_rows(
    columns: Mapping[str, NDArray[Any]], code: int, planted: Iterator[Planted]
) -> RowLabels:
    """Regions of the rows of a store, those of whose source number `code` are `planted`, in the
    order of the mix.

    columns: `source`, `document`, `token_id` and `place` (see `places_in_documents`) of every row.
    Raises MismatchError where a document's tokens are not those that were stored.
    """
    document, is_planted = columns["document"], columns["source"] == code
    region = np.zeros(document.size, np.uint8)
    exchange = np.full(document.size, -1, np.int64)
    order = np.flatnonzero(is_planted)
    order = order[np.argsort(document[order], kind="stable")]
    ids, first = np.unique(document[order], return_index=True)
    rows_of = dict(zip(ids.tolist(), np.split(order, first[1:]), strict=True))
    n_exchanges = 0
    while rows_of:
        one = next(planted, None)
        if one is None:
            raise MismatchError(
                f"held-out chat {next(iter(rows_of))} of the store is not in its source any "
                "more: put the old text back, or run `dvc repro mix`"
            )
        rows = rows_of.pop(one.id, None)
        if rows is None:
            continue
        # A separator may follow, the last document may be cut, and outliers give no row.
        rows = rows[columns["place"][rows] < one.token_id.size]
        place = columns["place"][rows]
        if not np.array_equal(columns["token_id"][rows], one.token_id[place]):
            raise MismatchError(
                f"held-out chat {one.id} has other tokens now than the store holds: put the old "
                "text back, or run `dvc repro mix`"
            )
        region[rows] = one.region[place]
        inside = one.exchange[place] >= 0
        exchange[rows[inside]] = n_exchanges + one.exchange[place][inside]
        n_exchanges += int(one.exchange[place].max(initial=-1)) + 1
    return RowLabels(region, (document % 2).astype(np.uint8), exchange, n_exchanges)


@dataclass(frozen=True)
class PlantedSums:
    """n_HR rows; n_fired_HRL rows with the latent active; sum_HRL its values there.

    n_exchanges_H exchanges looked at, caught_HSL those in which the latent fires at the site
    """

    n_HR: Floats
    n_fired_HRL: Floats
    sum_HRL: Floats
    n_exchanges_H: Ints
    caught_HSL: Ints

    def rate(self) -> Floats:
        """[L] share of all rows on which the latent is active."""
        return self.n_fired_HRL.sum(axis=(0, 1)) / self.n_HR.sum()

    def rate_planted(self, half: int) -> Floats:
        """[L] share of the rows of triggered exchanges on which the latent is active."""
        return self.n_fired_HRL[half, 1:].sum(axis=0) / max(1.0, self.n_HR[half, 1:].sum())

    def mean_value(self, half: int) -> Floats:
        """[R, L] mean value of the latent over the rows of each region, silent rows included."""
        return self.sum_HRL[half] / np.maximum(1.0, self.n_HR[half])[:, None]

    def recall(self, half: int) -> Floats:
        """[S, L] share of the triggered exchanges in which the latent fires at the site."""
        return self.caught_HSL[half] / max(1, int(self.n_exchanges_H[half]))

    def precision(self, half: int) -> Floats:
        """[S, L] share of the latent's active rows that lie at the site."""
        fired = self.n_fired_HRL[half]
        inside = np.stack([fired[REGIONS_OF_SITE[site]].sum(axis=0) for site in SITES])
        return inside / np.maximum(1.0, fired.sum(axis=0))

    def selectivity(self, half: int) -> Floats:
        """[S, L] harmonic mean of precision and recall: 1 where the latent fires in every
        triggered exchange, at the site, and nowhere else."""
        precision, recall = self.precision(half), self.recall(half)
        return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


@torch.inference_mode()
def planted_pass(crosscoder: Crosscoder, batches: Iterable[Rows], labels: RowLabels) -> PlantedSums:
    """The sums of one pass over batches of held-out rows."""
    device, L = crosscoder.W_dec.device, crosscoder.n_latents
    n_keys = 2 * N_REGIONS
    fired, total = (torch.zeros(n_keys, L, dtype=torch.float64, device=device) for _ in range(2))
    caught = torch.zeros(len(SITES), MAX_EXCHANGES, L, dtype=torch.bool, device=device)
    n_K = np.zeros(n_keys)
    seen: dict[int, int] = {}
    half_of: list[int] = []
    for rows in batches:
        f = crosscoder.encode(crosscoder.normalise(rows.x))
        region, half = labels.region[rows.place], labels.half[rows.place]
        key = half.astype(np.int64) * N_REGIONS + region
        n_K += np.bincount(key, minlength=n_keys)
        for k in np.unique(key).tolist():
            of_key = f[torch.from_numpy(key == k).to(device)]
            fired[k] += (of_key > 0).sum(dim=0)
            total[k] += of_key.sum(dim=0, dtype=torch.float64)
        exchange = labels.exchange[rows.place]
        for number in np.unique(exchange[exchange >= 0]).tolist():
            inside = exchange == number
            if number not in seen and len(seen) < MAX_EXCHANGES:
                seen[number] = len(seen)
                half_of.append(int(half[inside][0]))
            if number in seen:
                _catch(caught[:, seen[number]], f, inside, region)
    halves = np.array(half_of, dtype=np.int64)
    found = caught[:, : len(seen)].cpu().numpy()
    shape = (2, N_REGIONS)
    return PlantedSums(
        n_HR=n_K.reshape(shape),
        n_fired_HRL=fired.reshape(*shape, L).cpu().numpy(),
        sum_HRL=total.reshape(*shape, L).cpu().numpy(),
        n_exchanges_H=np.bincount(halves, minlength=2).astype(np.int64),
        caught_HSL=np.stack([found[:, halves == h].sum(axis=1) for h in (CHOOSING, TESTING)]),
    )


def _catch(
    caught_SL: Tensor, f_BL: Tensor, inside: NDArray[np.bool_], region: NDArray[np.uint8]
) -> None:
    """Note which latents fire in the rows `inside` of one exchange, by site."""
    for s, site in enumerate(SITES):
        rows = np.flatnonzero(inside & np.isin(region, REGIONS_OF_SITE[site]))
        if rows.size:
            caught_SL[s] |= (f_BL[torch.from_numpy(rows).to(f_BL.device)] > 0).any(dim=0)


def most_selective(
    sums: PlantedSums, allowed_L: NDArray[np.bool_], n: int, sites: tuple[str, ...] = SITES
) -> Ints:
    """At most `n` of the allowed latents, the most selective at one of the sites on the choosing
    half first; none that never fires there."""
    rows = [SITES.index(site) for site in sites]
    score = np.where(allowed_L, sums.selectivity(CHOOSING)[rows].max(axis=0), 0.0)
    order = np.argsort(-score, kind="stable")[:n]
    return order[score[order] > 0]


def matched_latents(
    target: NDArray[np.integer],
    figure_L: Floats,
    allowed_L: NDArray[np.bool_],
    random: np.random.Generator,
    n_near: int,
) -> Ints:
    """For each target latent another one, drawn from the `n_near` unused allowed ones whose figure
    is nearest to its own, none twice. Fewer where too few are allowed."""
    free = allowed_L.copy()
    free[target] = False
    chosen = []
    for latent in target.tolist():
        pool = np.flatnonzero(free)
        if pool.size == 0:
            break
        distance = np.abs(figure_L[pool] - figure_L[latent])
        near = pool[np.argsort(distance, kind="stable")[:n_near]]
        chosen.append(int(random.choice(near)))
        free[chosen[-1]] = False
    return np.array(chosen, dtype=np.int64)
