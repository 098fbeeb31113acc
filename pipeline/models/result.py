"""What `results/models.json` holds."""

from typing import NotRequired

from typing_extensions import TypedDict

from pipeline.results import ResultFile

Losses = dict[str, float]
"""Source of the held-out documents -> nats per token."""


class ModelFigures(TypedDict):
    """Shape of a model; its losses where one of the pair was made here."""

    d_model: int
    n_layers: int
    vocab_size: int
    n_bytes: int
    heldout_loss_nats: NotRequired[Losses]
    initial_heldout_loss_nats: NotRequired[Losses]


class StartFigures(TypedDict):
    """What stands at position 0 of every sequence, None for nothing, and why."""

    token: str | None
    id: int | None
    why: str


class PairFigures(TypedDict):
    """warnings: what of the pair can mislead; loss_change_nats: IT minus base, where one of the
    pair was made here."""

    base: ModelFigures
    it: ModelFigures
    start: StartFigures
    warnings: list[str]
    loss_change_nats: NotRequired[Losses]


PAIR = ResultFile("models.json", "models", PairFigures)
