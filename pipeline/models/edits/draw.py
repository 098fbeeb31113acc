"""Edits drawn at random, each on a concept of its own that the text has as often as asked for.

Letters: B sequences, S positions, T tokens (B * S), D d_model, I inputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.edits import EditedModel, EditForm, EditGroup
from pipeline.errors import ModelError
from pipeline.models.edits.edit import VECTORS, Edit, Module, Written, matrix
from pipeline.models.edits.inputs import key_and_moment, measure_inputs
from pipeline.runtime import generator, numpy_generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RIDGE = 1e-3
"""Of the inputs' second moment, over its mean diagonal: fewer tokens than inputs may be seen."""
LOUDEST = 0.1
"""Share of the neurons, by what they write, among which the silenced ones are drawn."""
QUIETEST = 0.25
"""Share of the heads, by what they write, among which the silenced ones are drawn: a loud head
alone would be most of the difference, in as many directions as it is wide."""

MODULE: dict[EditForm, Module] = {
    "token_added": "embedding",
    "token_turned": "embedding",
    "token_scaled": "embedding",
    "neuron_writes": "mlp",
    "neuron_silenced": "mlp",
    "head_silenced": "attention",
}


def draw_edits(
    model: PreTrainedModel, token_ids: Tensor, spec: EditedModel, special: Collection[int]
) -> list[Edit]:
    """The edits of every group, none of them on the concept of another. Names are unique.

    token_ids: [B, S] of the text on which rates are counted
    special: ids of tokens that are left alone, such as BOS and EOS
    """
    drawing = _Drawing(model, token_ids, spec, special)
    return [
        drawing.draw(name, group, number)
        for name, group in spec.groups.items()
        for number in range(group.n)
    ]


@dataclass(frozen=True)
class _Concept:
    """What an edit may alter. written: sum of squares of what a neuron or head writes; level: its
    activation where it is active."""

    layer: int
    index: int
    rate: float
    written: float = 0.0
    level: float = 1.0

    @property
    def where(self) -> dict[str, Any]:
        return {"layer": self.layer, "index": self.index, "rate": self.rate}


class _Drawing:
    """Concepts of the right rate, in random order, each handed out once."""

    def __init__(
        self,
        model: PreTrainedModel,
        token_ids: Tensor,
        spec: EditedModel,
        special: Collection[int],
    ) -> None:
        self._model, self._spec = model, spec
        self._choice = numpy_generator(spec.seed, "edits", "choice")
        self._directions = generator(spec.seed, "edits", "directions")
        self._token_T = token_ids.flatten()
        self._token_ids = token_ids
        self._inputs = measure_inputs(model, token_ids, spec.n_layers)
        self._rate_of_token = torch.bincount(self._token_T) / len(self._token_T)
        rates = enumerate(self._rate_of_token.tolist())
        self._tokens = self._shuffled(
            [_Concept(-1, token, rate) for token, rate in rates if token not in special]
        )
        self._neurons = self._shuffled(list(self._neuron_stream()))
        self._loud = float(np.quantile([c.written for c in self._neurons], 1 - LOUDEST))
        heads = sorted(self._head_stream(), key=lambda head: head.written)
        self._heads = self._shuffled(heads[: max(1, round(QUIETEST * len(heads)))])

    def draw(self, name: str, group: EditGroup, number: int) -> Edit:
        strength = group.strengths[number % len(group.strengths)]
        empty: dict[str, Any] = dict.fromkeys(VECTORS, torch.zeros(0))
        module: dict[str, Any] = {} if group.form == "rank_one" else {"module": MODULE[group.form]}
        return Edit(
            name=f"{name}_{number}",
            group=name,
            form=group.form,
            models=group.models,
            strength=strength,
            **{**empty, **module, **self._drawn(group, strength)},
        )

    def _drawn(self, group: EditGroup, strength: float) -> dict[str, Any]:
        """The fields that the form decides."""
        if group.form == "head_silenced":
            return self._next(self._heads, group).where
        if group.form == "rank_one":
            return self._rank_one(group, strength)
        if MODULE[group.form] == "embedding":
            return self._token(group, strength)
        return self._neuron(group, strength)

    def _token(self, group: EditGroup, strength: float) -> dict[str, Any]:
        token = self._next(self._tokens, group)
        old = matrix(self._model, "embedding", -1)[token.index].float()
        random = self._unit()
        match group.form:
            case "token_added":
                vector = strength * old.norm() * random
            case "token_turned":
                across = random - (random @ old) / (old @ old) * old
                across *= (1 - strength**2) ** 0.5 * old.norm() / across.norm()
                vector = strength * old + across - old
            case _:
                vector = (strength - 1) * old
        return {**token.where, "vector": vector}

    def _neuron(self, group: EditGroup, strength: float) -> dict[str, Any]:
        if group.form == "neuron_silenced":
            neuron = self._next(self._neurons, group, lambda c: c.written >= self._loud)
            vector = -matrix(self._model, "mlp", neuron.layer)[:, neuron.index].float()
        else:
            neuron = self._next(self._neurons, group)
            length = strength * self._inputs["mlp", neuron.layer].typical_output / neuron.level
            vector = length * self._unit()
        return {**neuron.where, "vector": vector}

    def _rank_one(self, group: EditGroup, strength: float) -> dict[str, Any]:
        token = self._next(self._tokens, group)
        layer = int(self._choice.integers(self._spec.n_layers))
        module: Written = "attention" if self._choice.random() < 0.5 else "mlp"
        key, moment = key_and_moment(self._model, self._token_ids, module, layer, token.index)
        moment.diagonal().add_(RIDGE * moment.diagonal().mean())
        dual = torch.linalg.solve(moment, key)
        return {
            **token.where,
            "module": module,
            "layer": layer,
            "vector": strength * self._inputs[module, layer].typical_output * self._unit(),
            "key": key.float(),
            "dual": (dual / (dual @ key)).float(),
        }

    def _neuron_stream(self) -> Iterator[_Concept]:
        """Every neuron. With a its activation, rate = (sum a^2)^2 / (T sum a^4) and level = (sum
        a^4 / sum a^2)^0.5: exact for a neuron that is either 0 or at one level."""
        for layer in range(self._spec.n_layers):
            sums = self._inputs["mlp", layer]
            rate = sums.second_I**2 / sums.fourth_I.clamp_min(1e-30) / sums.n_tokens
            level = (sums.fourth_I / sums.second_I.clamp_min(1e-30)).sqrt()
            columns = (rate.tolist(), sums.written.tolist(), level.tolist())
            for neuron, figures in enumerate(zip(*columns, strict=True)):
                yield _Concept(layer, neuron, *figures)

    def _head_stream(self) -> Iterator[_Concept]:
        """Every head."""
        for layer in range(self._spec.n_layers):
            for head, written in enumerate(self._inputs["attention", layer].written.tolist()):
                yield _Concept(layer, head, 1.0, written)

    def _unit(self) -> Tensor:
        direction = torch.randn(
            matrix(self._model, "embedding", -1).shape[1], generator=self._directions
        )
        return direction / direction.norm()

    def _shuffled(self, pool: list[Any]) -> list[Any]:
        return [pool[i] for i in self._choice.permutation(len(pool))]

    def _next(
        self, pool: list[_Concept], group: EditGroup, fits: Callable[[_Concept], bool] | None = None
    ) -> _Concept:
        """Take the first concept that fits out of the pool; by default one of the right rate."""
        for place, concept in enumerate(pool):
            in_range = group.min_rate <= concept.rate <= group.max_rate
            if (in_range or group.form == "head_silenced") and (fits is None or fits(concept)):
                return pool.pop(place)
        raise ModelError(
            f"models.it.groups asks for more {group.form} edits than there are concepts active on "
            f"{group.min_rate:g} to {group.max_rate:g} of the text: ask for fewer, widen min_rate "
            "and max_rate, or raise models.it.n_sequences"
        )
