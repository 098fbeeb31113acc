"""What `results/changes.json` holds."""

from typing_extensions import TypedDict

from pipeline.results import Measured, ResultFile

Lens = list[tuple[str, float]]
"""Tokens and their logits, the furthest first."""


class LatentUnder(TypedDict):
    """A crosscoder latent that fires with a change."""

    latent: int
    verdict: str
    correlation: float
    cosine: float


class ExampleRow(TypedDict):
    """A token on which a change is strong, and the text before it."""

    document: int
    sequence: int
    position: int
    strength: float
    before: str
    token: str


class ChangeEntry(TypedDict):
    """An entry of the list: `fields` of the file explains each figure."""

    rank: int
    change: int
    kind: str
    likely_kind: str
    share: Measured
    q_share: float
    q_kind: float
    cosine: Measured
    strength_ratio: Measured
    n_active: int
    rate: float
    norm_base: float | None
    norm_it: float | None
    made: Measured
    undone: Measured
    made_random: Measured
    latents: list[LatentUnder]
    promotes_in_base: Lens
    suppresses_in_base: Lens
    promotes_in_it: Lens
    suppresses_in_it: Lens
    examples: list[ExampleRow]


class ChangeList(TypedDict):
    """The list by falling share, and how much of the difference it accounts for."""

    applicable: bool
    confidence: float
    min_share: float
    max_false_discovery_rate: float
    n_rows: int
    n_listed: int
    share_listed: float
    share_not_listed: float | None
    share_left: float | None
    kinds: dict[str, int]
    changes: list[ChangeEntry]


CHANGES = ResultFile("changes.json", "changes", ChangeList)
