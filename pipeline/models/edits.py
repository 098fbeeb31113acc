"""Edits of a copy of a model, drawn at random and recorded, so that each can be made alone.

An edit changes what a model writes for one *concept*: a token, what makes an MLP neuron fire, what
an attention head reads, or the inputs of an output matrix W at one token. All but a silenced head
are of rank one:

    token_*, neuron_*    W[:, i] += vector                  (i a token or a neuron)
    rank_one             W += vector dual^T,  dual = C^-1 key / <key, C^-1 key>

with `key` the mean input of W at a token and C the second moment of its inputs, so that dual is 1
at the key and small at other inputs (Meng et al. 2022, arXiv 2202.05262, equation 2).

Letters: B sequences, S positions, T tokens (B * S), D d_model, I inputs of a matrix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.artifacts import write_json
from pipeline.config.edits import EditedModel, EditForm, EditGroup
from pipeline.errors import ModelError
from pipeline.models.hook import blocks, decoder_of
from pipeline.runtime import generator, numpy_generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EDITS_FILE, VECTORS_FILE = "edits.json", "edits.safetensors"
VECTORS = ("vector", "key", "dual")
RIDGE = 1e-3
"""Of the inputs' second moment, over its mean diagonal: fewer tokens than inputs may be seen."""
LOUDEST = 0.1
"""Share of the neurons, by what they write, among which the silenced ones are drawn."""
QUIETEST = 0.25
"""Share of the heads, by what they write, among which the silenced ones are drawn: a loud head
alone would be most of the difference, in as many directions as it is wide."""

Module = Literal["embedding", "mlp", "attention"]
MODULE: dict[EditForm, Module] = {
    "token_added": "embedding",
    "token_turned": "embedding",
    "token_scaled": "embedding",
    "neuron_writes": "mlp",
    "neuron_silenced": "mlp",
    "head_silenced": "attention",
}


@dataclass(frozen=True)
class Edit:
    """One edit. index: token id (token_*, rank_one), neuron or head; layer: block, -1: embedding;
    rate: share of text on which the concept is active; vector [D], key and dual [I]: see above,
    empty where the form has none."""

    name: str
    group: str
    form: EditForm
    models: Literal["it", "both", "none"]
    module: Module
    layer: int
    index: int
    rate: float
    strength: float
    vector: Tensor
    key: Tensor
    dual: Tensor


@torch.no_grad()
def make_edit(model: PreTrainedModel, edit: Edit) -> None:
    """Alter `model` in place."""
    if edit.form == "head_silenced":
        _head_columns(model, edit).mul_(1 - edit.strength)
        return
    weight = _matrix(model, edit.module, edit.layer)
    vector = edit.vector.to(weight)
    if edit.form == "rank_one":
        weight += torch.outer(vector, edit.dual.to(weight))
    elif edit.module == "embedding":
        weight[edit.index] += vector
    else:
        weight[:, edit.index] += vector


@contextmanager
def made(model: PreTrainedModel, edit: Edit | None) -> Iterator[None]:
    """The model with one edit, or None: as it is; put back to the bit when this closes."""
    if edit is None:
        yield
        return
    weight = _matrix(model, edit.module, edit.layer)
    before = weight.detach().clone()
    make_edit(model, edit)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(before)


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


def write_edits(folder: Path, edits: Sequence[Edit]) -> None:
    """Write the truth: what was edited (JSON), and the vectors (safetensors)."""
    from safetensors.torch import save_file

    plain: list[dict[str, Any]] = []
    vectors: dict[str, Tensor] = {}
    for edit in edits:
        fields = asdict(edit)
        for name in VECTORS:
            vectors[f"{edit.name}.{name}"] = fields.pop(name).contiguous()
        plain.append(fields)
    write_json(folder / EDITS_FILE, plain)
    save_file(vectors, folder / VECTORS_FILE)


def read_edits(folder: Path) -> list[Edit]:
    """What `write_edits` wrote, in order; empty where nothing was edited."""
    from safetensors.torch import load_file

    if not (folder / EDITS_FILE).exists():
        return []
    vectors = load_file(folder / VECTORS_FILE)
    plain: list[dict[str, Any]] = json.loads((folder / EDITS_FILE).read_text())
    return [
        Edit(**{**edit, **{name: vectors[f"{edit['name']}.{name}"] for name in VECTORS}})
        for edit in plain
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
        self._inputs = _module_inputs(model, token_ids, spec.n_layers)
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
        old = _matrix(self._model, "embedding", -1)[token.index].float()
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
            vector = -_matrix(self._model, "mlp", neuron.layer)[:, neuron.index].float()
        else:
            neuron = self._next(self._neurons, group)
            length = strength * self._typical_output("mlp", neuron.layer) / neuron.level
            vector = length * self._unit()
        return {**neuron.where, "vector": vector}

    def _rank_one(self, group: EditGroup, strength: float) -> dict[str, Any]:
        token = self._next(self._tokens, group)
        layer = int(self._choice.integers(self._spec.n_layers))
        module: Module = "attention" if self._choice.random() < 0.5 else "mlp"
        inputs_TI = self._inputs[module, layer].double()
        key = inputs_TI[self._token_T == token.index].mean(dim=0)
        moment = inputs_TI.T @ inputs_TI / len(inputs_TI)
        moment.diagonal().add_(RIDGE * moment.diagonal().mean())
        dual = torch.linalg.solve(moment, key)
        return {
            **token.where,
            "module": module,
            "layer": layer,
            "vector": strength * self._typical_output(module, layer) * self._unit(),
            "key": key.float(),
            "dual": (dual / (dual @ key)).float(),
        }

    def _neuron_stream(self) -> Iterator[_Concept]:
        """Every neuron. With a its activation, rate = (sum a^2)^2 / (T sum a^4) and level = (sum
        a^4 / sum a^2)^0.5: exact for a neuron that is either 0 or at one level."""
        for layer in range(self._spec.n_layers):
            square_TI = self._inputs["mlp", layer].double().square()
            second, fourth = square_TI.sum(dim=0), square_TI.square().sum(dim=0)
            rate = second**2 / fourth.clamp_min(1e-30) / len(square_TI)
            written = _matrix(self._model, "mlp", layer).float().norm(dim=0).double() ** 2 * second
            level = (fourth / second.clamp_min(1e-30)).sqrt()
            columns = (rate.tolist(), written.tolist(), level.tolist())
            for neuron, figures in enumerate(zip(*columns, strict=True)):
                yield _Concept(layer, neuron, *figures)

    def _head_stream(self) -> Iterator[_Concept]:
        """Every head."""
        for layer in range(self._spec.n_layers):
            inputs_TI = self._inputs["attention", layer]
            weight, d_head = _matrix(self._model, "attention", layer), _d_head(self._model, layer)
            parts = zip(inputs_TI.split(d_head, 1), weight.split(d_head, 1), strict=True)
            for head, (read, write) in enumerate(parts):
                written = (read @ write.float().T).square().sum()
                yield _Concept(layer, head, 1.0, float(written))

    def _typical_output(self, module: Module, layer: int) -> float:
        weight = _matrix(self._model, module, layer).float()
        return float((self._inputs[module, layer] @ weight.T).square().sum(dim=1).mean().sqrt())

    def _unit(self) -> Tensor:
        direction = torch.randn(
            _matrix(self._model, "embedding", -1).shape[1], generator=self._directions
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


def _module_inputs(
    model: PreTrainedModel, token_ids: Tensor, n_layers: int
) -> dict[tuple[Module, int], Tensor]:
    """[T, I] inputs of the output matrices of the first `n_layers` blocks, in float32."""
    found: dict[tuple[Module, int], list[Tensor]] = {}
    handles = []
    for layer in range(n_layers):
        for module in ("mlp", "attention"):
            parts = found.setdefault((module, layer), [])

            def keep(_module: nn.Module, args: Any, _out: Any, parts: list[Tensor] = parts) -> None:
                parts.append(args[0].flatten(0, 1).float())

            handles.append(_output(model, module, layer).register_forward_hook(keep))
    with torch.no_grad():
        for part in token_ids.split(16):
            decoder_of(model)(input_ids=part.to(model.device), use_cache=False)
    for handle in handles:
        handle.remove()
    return {key: torch.cat(parts) for key, parts in found.items()}


def _matrix(model: PreTrainedModel, module: Module, layer: int) -> Tensor:
    """The embedding [V, D], or an output matrix [D, I]."""
    if module == "embedding":
        return cast(nn.Embedding, model.get_input_embeddings()).weight
    return _output(model, module, layer).weight


def _output(model: PreTrainedModel, module: Literal["mlp", "attention"], layer: int) -> nn.Linear:
    """The linear map that a block's MLP or attention writes with. ModelError where the family
    names them otherwise."""
    names = {"mlp": "mlp.down_proj", "attention": "self_attn.o_proj"}
    try:
        found = blocks(model)[layer].get_submodule(names[module])
    except AttributeError as error:
        raise ModelError(
            f"{type(model).__name__} has no {names[module]} in block {layer}: edits are made in "
            "families whose blocks are built as Llama's are (Llama, Gemma, Qwen, Mistral, SmolLM); "
            "edit another model"
        ) from error
    assert isinstance(found, nn.Linear)
    return found


def _d_head(model: PreTrainedModel, layer: int) -> int:
    attention: Any = blocks(model)[layer].get_submodule("self_attn")
    return int(attention.head_dim)


def _head_columns(model: PreTrainedModel, edit: Edit) -> Tensor:
    d_head = _d_head(model, edit.layer)
    weight = _matrix(model, "attention", edit.layer)
    return weight[:, edit.index * d_head : (edit.index + 1) * d_head]
