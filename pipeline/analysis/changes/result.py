"""What `results/changes.json` holds: the list, its entries, and what each figure means."""

from typing import Annotated

from typing_extensions import TypedDict

from pipeline.results import Measured, ResultFile, descriptions
from pipeline.stage import RESULTS

Lens = list[tuple[str, float]]
"""Tokens and their logits, the furthest first."""


class LatentUnder(TypedDict):
    """A crosscoder latent that fires with a change."""

    latent: int
    verdict: str
    correlation: float
    cosine: float


class Example(TypedDict):
    """A token on which a change is strong, and the text before it."""

    document: int
    sequence: int
    position: int
    strength: float
    before: str
    token: str


class Change(TypedDict):
    """An entry of the list."""

    rank: Annotated[int, "place in the list, 1 first, by falling share"]
    change: Annotated[int, "number by which data/changes knows it"]
    kind: Annotated[
        str,
        "new, lost, moved, turned, stronger, weaker, mean_shift, scale_shift or undecided: see"
        " docs/changes.md",
    ]
    likely_kind: Annotated[str, "what the figures say, sure or not"]
    broad: Annotated[
        bool,
        "whether it acts on every row, in proportion to what base has there, instead of on the few "
        "rows that lie along it",
    ]
    share: Annotated[
        Measured,
        "part of sum |h_it - h_base|^2 over held-out rows that leaving the change out of the "
        "model of the difference would leave unexplained; value, low, high (share_low and "
        "share_high in the table): its interval over blocks of documents",
    ]
    p_share: Annotated[float, "of the claim that the share is at most changes.min_share"]
    q_share: Annotated[float, "the same at a false discovery rate over all changes found"]
    cosine: Annotated[
        Measured,
        "of what base and IT write on the change's rows (u_base, u_it), by products of two "
        "halves of the documents; null for a shift",
    ]
    strength_ratio: Annotated[Measured, "|u_it| / |u_base|, from 0.01 to 100; null for a shift"]
    common: Annotated[
        float | None,
        "share of the squares of the rows on which it is strong that one common direction "
        "explains, in the model with less; the kind is read off cosine and strength_ratio from "
        "changes.min_common on, else off beta",
    ]
    beta: Annotated[
        float | None,
        "what base has along the change's direction on its rows, in units of the change; IT "
        "has beta + 1",
    ]
    share_against: Annotated[
        float | None, "part of the change's squares on rows where it takes its direction away"
    ]
    p_kind: Annotated[
        float, "of the claim that the change is not of this kind (before `undecided`)"
    ]
    q_kind: Annotated[float, "the same at a false discovery rate over the kinds of listed entries"]
    n_active: Annotated[int, "held-out rows on which the change acts"]
    rate: Annotated[float, "n_active over all held-out rows"]
    n_effective: Annotated[float, "effective number of blocks of documents behind the share"]
    norm: Annotated[
        float, "root mean square length of the change on the rows it acts on, raw units"
    ]
    norm_base: Annotated[
        float | None, "the same of what base writes there, about the mean of its rows"
    ]
    norm_it: Annotated[float | None, "the same of what IT writes there"]
    made: Annotated[
        Measured,
        "share of KL(IT || base) that goes when the change alone is made in base; null beyond "
        "changes.n_causal, and without models",
    ]
    undone: Annotated[Measured, "share of KL(IT || base) that comes when it alone is undone in IT"]
    made_random: Annotated[
        Measured, "what `made` is for single random latents that fire as often, mean of draws"
    ]
    latents: Annotated[
        list[LatentUnder],
        "crosscoder latents that fire with the change: latent, verdict, correlation of their "
        "activity with the change's, cosine of the decoders' difference with the change's "
        "direction",
    ]
    promotes_in_base: Annotated[
        Lens,
        "tokens, with logits, that the change's direction promotes through the base model's "
        "head (logit lens)",
    ]
    suppresses_in_base: Annotated[Lens, "and suppresses"]
    promotes_in_it: Annotated[Lens, "the same through the IT model's head"]
    suppresses_in_it: Annotated[Lens, "and suppresses"]
    tokens: Annotated[
        list[tuple[str, float]],
        "tokens that the change acts on most, each with its share of the change's squares over "
        "held-out rows",
    ]
    sources: Annotated[list[tuple[str, float]], "each source of text with the same share"]
    examples: Annotated[
        list[Example],
        "strongest rows, each of another document: document, sequence and position in the "
        "token store, strength (below 0: against the direction), text before the token, and "
        "the token",
    ]


FIELDS = descriptions(Change)


class ChangeList(TypedDict):
    """The list by falling share, and how much of the difference it accounts for. fields: what each
    figure of an entry means; n_found: directions found; of these and the two shifts n_listed passed
    the test."""

    applicable: bool
    fields: dict[str, str]
    confidence: float
    min_share: float
    max_false_discovery_rate: float
    n_rows: int
    n_found: int
    n_listed: int
    share_listed: float
    share_not_listed: float | None
    share_left: float | None
    kinds: dict[str, int]
    changes: list[Change]


CHANGES = ResultFile("changes.json", "changes", ChangeList)


def listed() -> list[Change]:
    """The entries of this run; none where no list was made."""
    result = CHANGES.read_applicable(RESULTS)
    return result["changes"] if result else []
