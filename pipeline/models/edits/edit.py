"""One edit of a copy of a model: what it is, how it is made and put back, and how it is kept.

An edit changes what a model writes for one *concept*: a token, what makes an MLP neuron fire, what
an attention head reads, or the inputs of an output matrix W at one token. All but a silenced head
are of rank one:

    token_*, neuron_*    W[:, i] += vector                  (i a token or a neuron)
    rank_one             W += vector dual^T,  dual = C^-1 key / <key, C^-1 key>

with `key` the mean input of W at a token and C the second moment of its inputs, so that dual is 1
at the key and small at other inputs (Meng et al. 2022, arXiv 2202.05262, equation 2).

Letters: D d_model, I inputs of a matrix.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from pipeline.artifacts import write_json
from pipeline.config.edits import EditForm
from pipeline.errors import ModelError
from pipeline.models.hook import blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EDITS_FILE, VECTORS_FILE = "edits.json", "edits.safetensors"
VECTORS = ("vector", "key", "dual")

Module = Literal["embedding", "mlp", "attention"]
Written = Literal["mlp", "attention"]
"""The modules of a block that write to the residual stream."""


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
    weight = matrix(model, edit.module, edit.layer)
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
    weight = matrix(model, edit.module, edit.layer)
    before = weight.detach().clone()
    make_edit(model, edit)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(before)


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


def matrix(model: PreTrainedModel, module: Module, layer: int) -> Tensor:
    """The embedding [V, D], or an output matrix [D, I]."""
    if module == "embedding":
        return cast(nn.Embedding, model.get_input_embeddings()).weight
    return output_of(model, module, layer).weight


def output_of(model: PreTrainedModel, module: Written, layer: int) -> nn.Linear:
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


def d_head_of(model: PreTrainedModel, layer: int) -> int:
    attention: Any = blocks(model)[layer].get_submodule("self_attn")
    return int(attention.head_dim)


def _head_columns(model: PreTrainedModel, edit: Edit) -> Tensor:
    d_head = d_head_of(model, edit.layer)
    weight = matrix(model, "attention", edit.layer)
    return weight[:, edit.index * d_head : (edit.index + 1) * d_head]
