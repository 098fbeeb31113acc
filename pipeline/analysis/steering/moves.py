"""What is added to a model's rows: a part of a change, or one vector on every token.

The IT model has a change once, the base model not at all. With a the number of times that a
condition has it (removed 0, made 1, doubled 2), and c_t what the change puts into the difference of
row t,

    h_m,t + (a - a_m) c_t,    a_base = 0, a_it = 1.

c_t follows from the rows of both models on the tokens that have been written, as in the list of
changes. Beside each condition stands a random direction e with the same length on every row,
(a - a_m) |c_t| e.

Letters: B rows, M models (base, IT), D d_model, L lines of all changes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from pipeline.analysis.changes.measure import BASE, IT
from pipeline.analysis.changes.rows import ChangeRows, Rows

AMOUNTS = {BASE: {"made": 1.0, "doubled": 2.0}, IT: {"removed": 0.0, "doubled": 2.0}}
"""Model -> how many times a condition has the change; what leaves a model as it is is left out."""


Move = Callable[[Rows], Tensor]
"""Rows -> what is added to the model's own [B, D]."""


@dataclass(frozen=True)
class Condition:
    """One way to steer a model. subject: index of what it is steered with; name: of CONDITIONS;
    factor: of an added direction; is_random: whether a random direction stands in its place."""

    subject: int
    name: str
    factor: float | None
    is_random: bool
    move: Move


def change_conditions(
    subject: int,
    rows: ChangeRows,
    change: int,
    m: int,
    *,
    length: float,
    factors: Sequence[float],
    random_D: Tensor,
) -> Iterator[Condition]:
    """The conditions of a change in model `m`, each followed by its random twin. length: of the
    change on the rows it acts on; random_D: a unit vector"""
    for name, amount in AMOUNTS[m].items():
        times = amount - m  # a model's number is how many times it has the change
        yield Condition(subject, name, None, False, _part(rows, change, times))
        yield Condition(subject, name, None, True, _as_long(rows, change, times, random_D))
    direction = rows.direction(change)
    if direction is not None:
        yield from added(subject, direction * length, random_D * length, factors)


def added(
    subject: int, vector_D: Tensor, random_D: Tensor, factors: Sequence[float]
) -> Iterator[Condition]:
    """One vector on every token, at each multiple, followed by a random one."""
    for factor in factors:
        yield Condition(subject, "added", factor, False, constant(factor * vector_D))
        yield Condition(subject, "added", factor, True, constant(factor * random_D))


def constant(vector_D: Tensor) -> Move:
    return lambda rows: vector_D.expand_as(rows.x_BMD[:, 0])


def _part(rows: ChangeRows, change: int, times: float) -> Move:
    return lambda given: times * rows.part(given, change)


def _as_long(rows: ChangeRows, change: int, times: float, random_D: Tensor) -> Move:
    return lambda given: times * rows.part(given, change).norm(dim=1, keepdim=True) * random_D
