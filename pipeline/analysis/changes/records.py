"""The list of changes as it is written, and what each of its figures means."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.analysis.bootstrap import Estimate
from pipeline.analysis.changes.causal import Weight

FIELDS = {
    "rank": "place in the list, 1 first, by falling share",
    "change": "number by which data/changes knows it",
    "kind": "new, lost, moved, turned, stronger, weaker, mean_shift, scale_shift or undecided: see "
    "docs/changes.md",
    "share": "part of sum |h_it - h_base|^2 over held-out rows that leaving the change out "
    "of the model of the difference would leave unexplained; value, low, high (share_low and "
    "share_high in the table): its interval over blocks of documents",
    "p_share": "of the claim that the share is at most changes.min_share",
    "q_share": "the same at a false discovery rate over all changes found",
    "cosine": "of what base and IT write on the change's rows (u_base, u_it), by products of two "
    "halves of the documents; null for a shift",
    "strength_ratio": "|u_it| / |u_base|, from 0.01 to 100; null for a shift",
    "share_against": "part of the change's squares on rows where it takes its direction away",
    "common": "share of the squares of the rows it acts on that one common direction explains, in "
    "the model with less; the kind is read off cosine and strength_ratio from changes.min_common "
    "on, else off beta",
    "beta": "what base has along the change's direction on its rows, in units of the change; IT "
    "has beta + 1",
    "p_kind": "of the claim that the change is not of this kind (before `undecided`)",
    "q_kind": "the same at a false discovery rate over the kinds of listed entries",
    "likely_kind": "what the figures say, sure or not",
    "n_active": "held-out rows on which the change acts",
    "rate": "n_active over all held-out rows",
    "n_effective": "effective number of blocks of documents behind the share",
    "norm": "root mean square length of the change on the rows it acts on, raw units",
    "norm_base": "the same of what base writes there, about the mean of its rows",
    "norm_it": "the same of what IT writes there",
    "latents": "crosscoder latents that fire with the change: latent, verdict, correlation of "
    "their activity with the change's, cosine of the decoders' difference with the change's "
    "direction",
    "promotes_in_base": "tokens, with logits, that the change's direction promotes through the "
    "base model's head (logit lens)",
    "suppresses_in_base": "and suppresses",
    "promotes_in_it": "the same through the IT model's head",
    "suppresses_in_it": "and suppresses",
    "made": "share of KL(IT || base) that goes when the change alone is made in base; null beyond "
    "changes.n_causal, and without models",
    "undone": "share of KL(IT || base) that comes when it alone is undone in IT",
    "made_random": "what `made` is for single random latents that fire as often, mean of draws",
    "examples": "strongest rows, each of another document: document, sequence and position in the "
    "token store, strength (below 0: against the direction), text before the token, and the token",
}
LENS = {
    "promotes_in_base": "base_promoted",
    "suppresses_in_base": "base_suppressed",
    "promotes_in_it": "it_promoted",
    "suppresses_in_it": "it_suppressed",
}
"""Field of a change -> list of the logit lens."""
DIRECTIONS = {
    "direction": "[d_model] unit vector of the difference",
    "direction_base": "[d_model] u_base: least-squares vector of base's rows on the change's "
    "activity; null for a shift",
    "direction_it": "[d_model] u_it",
}


@dataclass(frozen=True)
class LatentUnder:
    """A crosscoder latent that fires with a change."""

    latent: int
    verdict: str
    correlation: float
    cosine: float


@dataclass(frozen=True)
class Example:
    """A row on which a change is strong."""

    document: int
    sequence: int
    position: int
    strength: float
    before: str
    token: str


Lens = list[tuple[str, float]]


@dataclass(frozen=True)
class Change:
    """An entry of the list; FIELDS explains each field. None: not defined."""

    rank: int
    change: int
    kind: str
    likely_kind: str
    share: Estimate
    p_share: float
    q_share: float
    cosine: Estimate
    strength_ratio: Estimate
    common: float | None
    beta: float | None
    share_against: float | None
    p_kind: float
    q_kind: float
    n_active: int
    rate: float
    n_effective: float
    norm: float
    norm_base: float | None
    norm_it: float | None
    made: Estimate
    undone: Estimate
    made_random: Estimate
    latents: Sequence[LatentUnder]
    promotes_in_base: Lens
    suppresses_in_base: Lens
    promotes_in_it: Lens
    suppresses_in_it: Lens
    examples: Sequence[Example]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_row(self) -> dict[str, Any]:
        """The single figures: an estimate becomes three columns, lists are left out."""
        row: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Estimate):
                row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
            elif not isinstance(value, (list, tuple)):
                row[name] = value
        return row


@dataclass(frozen=True)
class Surroundings:
    """What stands beside the figures of a change: the latents under it, its causal weight, tokens
    that it promotes (fields of Change -> list), and examples."""

    latents: Sequence[LatentUnder] = ()
    weight: Weight | None = None
    lens: Mapping[str, Lens] = field(default_factory=dict)
    examples: Sequence[Example] = ()


NOTHING = Surroundings()
