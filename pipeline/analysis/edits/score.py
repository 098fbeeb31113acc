"""A list against the truth.

An entry says: along direction e, rows t differ by h_t. Of an edit with effect v_t (made alone), let
p_t = <v_t, e>. The entry *names* the edit where

    rows        sum h p / (|h| |p|)              at least `min_rows_cosine`
    direction   sum p^2 / max_e sum <v_t, e>^2   at least `min_direction`

and belongs to it, as one more part, where the edit is most of what the entry shows:
sum h p / sum h <Delta_t, e> at least a half. An entry that neither names an edit nor belongs to one
is false; one that belongs to an edit, or names one that an earlier entry named, is a duplicate.

Letters: T rows, D d_model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.analysis.edits.effects import Truth
from pipeline.analysis.edits.result import Score

MIN_ROWS_COSINE = 0.5
MIN_DIRECTION = 0.5
MOST = 0.5
MIN_EDIT_SHARE = 0.005
"""Of the difference: smaller edits need not be named."""
MIN_MARGIN = 0.1
"""Of the figure that a kind is read off: edits nearer to another kind are not judged."""


@dataclass(frozen=True)
class Entry:
    """An entry of some method's list: direction [D], h [T], and its kind, "" where none is said."""

    direction_D: Tensor
    h_T: Tensor
    kind: str


@dataclass(frozen=True)
class Match:
    """What became of an entry. edit: number of the edit it names or belongs to, -1: false."""

    edit: int
    is_new: bool
    cosine: float
    kind: str


def match(entries: Sequence[Entry], truths: Sequence[Truth], difference_TD: Tensor) -> list[Match]:
    """What each entry of a list is, in the order of the list."""
    named: set[int] = set()
    matches = []
    for entry, names, belongs in zip(
        entries, *_closest(entries, truths, difference_TD), strict=True
    ):
        edit = names if names >= 0 else belongs
        is_new = names >= 0 and names not in named
        cosine = float((entry.direction_D @ truths[edit].direction_D).abs()) if edit >= 0 else 0.0
        matches.append(Match(edit, is_new, cosine, entry.kind))
        if is_new:
            named.add(names)
    return matches


def _closest(
    entries: Sequence[Entry], truths: Sequence[Truth], difference_TD: Tensor
) -> tuple[list[int], list[int]]:
    """Of each entry the edit that it names, and the one it belongs to; -1: none."""
    if not entries:
        return [], []
    e_DN = torch.stack([entry.direction_D for entry in entries], dim=1)
    h_TN = torch.stack([entry.h_T for entry in entries], dim=1)
    product, fit = [], []
    for truth in truths:
        p_TN = truth.effect_TD @ e_DN
        product_N = (h_TN * p_TN).sum(dim=0)
        rows_N = product_N.abs() / (h_TN.norm(dim=0) * p_TN.norm(dim=0)).clamp_min(1e-30)
        direction_N = p_TN.square().sum(dim=0) / max(truth.best, 1e-30)
        fits_N = (rows_N >= MIN_ROWS_COSINE) & (direction_N >= MIN_DIRECTION)
        product.append(product_N)
        fit.append(rows_N * direction_N * fits_N)
    best_N, names_N = torch.stack(fit).max(dim=0)
    part_N, belongs_N = torch.stack(product).max(dim=0)
    shown_N = (h_TN * (difference_TD @ e_DN)).sum(dim=0)
    belongs_N[(shown_N <= 0) | (part_N < MOST * shown_N)] = -1
    names_N[best_N == 0] = -1
    return names_N.tolist(), belongs_N.tolist()


def controls_listed(
    entries: Sequence[Entry], matches: Sequence[Match], norms: Sequence[Tensor]
) -> list[int]:
    """Numbers of the controls on whose rows a false entry lies: sum |h| |v| / (|h| |v|) is at least
    `min_rows_cosine`. norms: [T] |v_t| of what each control does, or would do, made alone."""
    false = [
        entry.h_T.abs() for entry, found in zip(entries, matches, strict=True) if found.edit < 0
    ]
    return [
        number
        for number, v_T in enumerate(norms)
        if any(
            float(h_T @ v_T) >= MIN_ROWS_COSINE * float(h_T.norm() * v_T.norm()) > 0
            for h_T in false
        )
    ]


def score(
    matches: Sequence[Match], truths: Sequence[Truth], wanted: Sequence[int], min_margin: float
) -> Score:
    """wanted: numbers of the edits to be named; others count neither way. min_margin: edits whose
    truth lies nearer than this to another kind count neither way among kinds."""
    n = len(wanted)
    place = {found.edit: rank for rank, found in enumerate(matches) if found.is_new}
    ranks = [place[edit] for edit in wanted if edit in place]
    named = [found for found in matches if found.is_new and found.edit in wanted]
    judged = [found for found in named if found.kind and truths[found.edit].margin >= min_margin]
    return Score(
        n=n,
        recovered_n=sum(rank < n for rank in ranks),
        recovered_more=sum(rank < int(1.5 * n) for rank in ranks),
        recovered=len(ranks),
        n_entries=len(matches),
        false=sum(found.edit < 0 for found in matches),
        duplicates=sum(found.edit >= 0 and not found.is_new for found in matches),
        kinds_right=sum(found.kind == truths[found.edit].kind for found in judged),
        kinds_undecided=sum(found.kind == "undecided" for found in judged),
        kinds_judged=len(judged),
        cosines=[found.cosine for found in named],
    )
