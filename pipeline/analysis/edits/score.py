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

from torch import Tensor

from pipeline.analysis.edits.effects import Truth

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
    for entry in entries:
        names, belongs = _closest(entry, truths, difference_TD)
        edit = names if names >= 0 else belongs
        is_new = names >= 0 and names not in named
        cosine = float((entry.direction_D @ truths[edit].direction_D).abs()) if edit >= 0 else 0.0
        matches.append(Match(edit, is_new, cosine, entry.kind))
        if is_new:
            named.add(names)
    return matches


def _closest(entry: Entry, truths: Sequence[Truth], difference_TD: Tensor) -> tuple[int, int]:
    """The edit that an entry names, and the one it belongs to; -1: none."""
    h_T, e_D = entry.h_T, entry.direction_D
    shown = float(h_T @ (difference_TD @ e_D))
    along = [truth.effect_TD @ e_D for truth in truths]
    product = [float(h_T @ p_T) for p_T in along]
    rows = [
        abs(hp) / max(float(h_T.norm() * p_T.norm()), 1e-30)
        for hp, p_T in zip(product, along, strict=True)
    ]
    direction = [
        float(p_T.square().sum()) / max(truth.best, 1e-30)
        for p_T, truth in zip(along, truths, strict=True)
    ]
    fits = [
        r * d if r >= MIN_ROWS_COSINE and d >= MIN_DIRECTION else 0.0
        for r, d in zip(rows, direction, strict=True)
    ]
    names = max(range(len(truths)), key=fits.__getitem__)
    part = max(range(len(truths)), key=product.__getitem__)
    belongs = shown > 0 and product[part] >= MOST * shown
    return (names if fits[names] > 0 else -1), (part if belongs else -1)


@dataclass(frozen=True)
class Score:
    """Counts of one list on one pair.

    n: edits to be named; recovered_n, recovered_more: of them, among the first n and 1.5 n entries;
    recovered: among all. n_entries, false, duplicates: entries of the whole list
    kinds_right, kinds_undecided, kinds_judged: of the named edits that lie well inside their kind
    cosines: of each named edit's direction with the truth
    """

    n: int
    recovered_n: int
    recovered_more: int
    recovered: int
    n_entries: int
    false: int
    duplicates: int
    kinds_right: int
    kinds_undecided: int
    kinds_judged: int
    cosines: list[float]


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
