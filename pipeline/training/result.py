"""What `results/training.csv` holds."""

from typing import NotRequired

from typing_extensions import TypedDict

from pipeline.results import ResultFile


class Curve(TypedDict):
    """A row per logged step, none for a crosscoder that was not trained here; beside these columns
    a variant logs its own terms of the loss."""

    step: list[int]
    n_rows: list[int]
    loss: NotRequired[list[float | None]]
    l0: NotRequired[list[float | None]]
    fve_base: NotRequired[list[float | None]]
    fve_it: NotRequired[list[float | None]]
    gradient_norm: NotRequired[list[float | None]]
    n_dead: NotRequired[list[float | None]]


CURVE = ResultFile("training.csv", "train", Curve)
