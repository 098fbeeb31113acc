"""Which crosscoder latents a change rests on, the rows that show it best, and the text it acts on;
one held-out pass.

A latent stands under a change where it fires on the rows that the change acts on (correlation of f
with |h|); the cosine of its decoders' difference with the change's direction tells whether it
explains the change, or is the concept that changed. The tokens and the sources of text on which it
acts count by its squares there, sum h^2, so that rows on which it is strong say most.

Letters: B rows, L latents, J changes, M models, D d_model, E examples.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.heldout import Window
from pipeline.config.changes import ChangesConfig
from pipeline.crosscoder import Crosscoder
from pipeline.distributed import Ranks
from pipeline.store import StoreReader
from pipeline.text.pieces import Pieces

Floats = NDArray[np.float64]
PLACE = ("document", "sequence", "position")


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
        for counter, ids_N in ((self.by_token, token_id_B[on]), (self.by_source, source_B[on])):
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


@dataclass
class Shown:
    """The strongest rows of a change, each of another document: document -> (|h|, h, sequence,
    position)."""

    by_document: dict[int, "Row"] = field(default_factory=dict)

    def see(self, rows: Mapping[str, NDArray[Any]], h_B: NDArray[np.floating], n: int) -> None:
        """Look at a batch; only its n strongest rows can matter, and n documents are kept."""
        for row in np.argsort(-np.abs(h_B), kind="stable")[: 4 * n]:
            strength, document = float(abs(h_B[row])), int(rows["document"][row])
            known = self.by_document.get(document)
            if strength > 0 and (known is None or known[0] < strength):
                place = (int(rows["sequence"][row]), int(rows["position"][row]))
                self.by_document[document] = (strength, float(h_B[row]), *place)
        if len(self.by_document) > n:
            self.by_document = strongest(self.by_document.items(), n)


Row = tuple[float, float, int, int]


def strongest(rows: Iterable[tuple[int, Row]], n: int) -> dict[int, Row]:
    """The n documents with the strongest rows, each with its strongest; of equals the earliest."""
    by_document: dict[int, Row] = {}
    for document, row in sorted(rows, key=lambda item: (-item[1][0], item[1][2:])):
        by_document.setdefault(document, row)
    kept = sorted(by_document.items(), key=lambda item: (-item[1][0], item[0]))[:n]
    return dict(kept)


@dataclass(frozen=True)
class Rests:
    """correlation_JL: of |h| with f; cosine_JL: of a latent's decoder difference with the change's
    direction; both 0 where a latent never fires. shown, where: per change."""

    correlation_JL: Floats
    cosine_JL: Floats
    shown: list[Shown]
    where: list[Where]


@torch.inference_mode()
def rests_on(
    changes: Changes,
    crosscoder: Crosscoder,
    window: Window,
    tokens: StoreReader | None,
    section: ChangesConfig,
) -> Rests:
    """One pass over the held-out rows that the changes are measured on. tokens: the token store,
    None where rows have no text"""
    device, L = crosscoder.W_dec.device, crosscoder.n_latents
    sums_JL = torch.zeros(changes.n, L, dtype=torch.float64, device=device)
    of_h, of_f = (torch.zeros(2, n, dtype=torch.float64, device=device) for n in (changes.n, L))
    shown = [Shown() for _ in range(changes.n)]
    where = [Where() for _ in range(changes.n)]
    n_rows = sum(stop - start for start, stop in window.blocks)
    for rows in window.batches(device, "changes_latents", *PLACE, "source"):
        h_BJ = changes.activity(rows.x, section).h_BJ
        f_BL, size_BJ = crosscoder.latents(rows.x).double(), h_BJ.abs().double()
        sums_JL += size_BJ.T @ f_BL
        of_h += torch.stack([size_BJ.sum(0), size_BJ.square().sum(0)])
        of_f += torch.stack([f_BL.sum(0), f_BL.square().sum(0)])
        h_JB = h_BJ.T.cpu().numpy()
        for h_B, found in zip(h_JB, shown, strict=True):
            found.see(rows.columns, h_B, section.n_examples)
        if tokens is not None:
            token_id_B = token_ids(tokens, rows.columns["sequence"], rows.columns["position"])
            for h_B, acts in zip(h_JB, where, strict=True):
                acts.see(token_id_B, rows.columns["source"], h_B)
    ranks = window.ranks
    ranks.sum(sums_JL, of_h, of_f)
    shown, where = everyones(ranks, shown, where, section.n_examples)
    covariance = sums_JL / n_rows - torch.outer(of_h[0], of_f[0]) / n_rows**2
    deviation_J, deviation_L = (
        (s[1] / n_rows - (s[0] / n_rows) ** 2).clamp_min(0).sqrt() for s in (of_h, of_f)
    )
    correlation = covariance / torch.outer(deviation_J, deviation_L).clamp_min(1e-30)
    unit_LD = torch.nn.functional.normalize(crosscoder.decoder_difference(), dim=1)
    return Rests(
        correlation.cpu().numpy(),
        (changes.direction_JD @ unit_LD.T).double().cpu().numpy(),
        shown,
        where,
    )


def everyones(
    ranks: Ranks, shown: list[Shown], where: list[Where], n: int
) -> tuple[list[Shown], list[Where]]:
    """What all processes saw of each change; `n` documents are kept."""
    if ranks.size == 1:
        return shown, where
    seen = ranks.everyones([(shown, where)])
    return (
        [
            Shown(strongest([item for s in of_all for item in s.by_document.items()], n))
            for of_all in zip(*(shown for shown, _ in seen), strict=True)
        ],
        [Where.together(of_all) for of_all in zip(*(where for _, where in seen), strict=True)],
    )


def token_ids(
    tokens: StoreReader, sequence_B: NDArray[np.integer], position_B: NDArray[np.integer]
) -> NDArray[np.integer]:
    """[B] the token of each row."""
    sequences, of_B = np.unique(sequence_B, return_inverse=True)
    return tokens.take("token_id", sequences.astype(np.int64))[of_B, position_B]
