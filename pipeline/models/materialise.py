"""Find or make the two models and their tokenizer, check that they form a pair, describe them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from pipeline.artifacts import sync
from pipeline.config.edits import EditedModel
from pipeline.config.models import (
    HubModel,
    LocalModel,
    ModelName,
    ModelsConfig,
    NoModel,
    TrainedModel,
    TunedModel,
)
from pipeline.config.text import SourceConfig
from pipeline.labels import MODELS
from pipeline.models.architecture import random_model
from pipeline.models.configuration import quiet
from pipeline.models.edits import draw_edits, make_edit, write_edits
from pipeline.models.fitting import fit
from pipeline.models.load import read_model, read_tokenizer
from pipeline.models.locate import locate_hub, locate_local
from pipeline.models.pair import (
    Reading,
    check_layer,
    check_tokenizers,
    check_width,
    embedded_by,
    examine,
)
from pipeline.models.records import TOKENIZER_DIR, ModelRecord, describe, write_records
from pipeline.models.sequences import (
    train_sequences,
    train_tokenizer_on,
    write_training_sequences,
)
from pipeline.models.start import choose_start, write_start

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPE_SAVED = {"bf16": torch.bfloat16, "fp32": torch.float32}
FOUND_FIRST = {"hub": 0, "local": 0, "trained": 1, "tuned": 2, "edited": 2}
EDITED_BASE = "base_edited"
"""Folder of the base with the edits that both models have."""

ModelSpec = HubModel | LocalModel | TrainedModel | TunedModel | EditedModel
MadeHere = TrainedModel | TunedModel


@dataclass(frozen=True)
class Workshop:
    """What making a pair needs.

    work: folder that becomes `data/models/`; a killed run leaves its checkpoints there
    sources: every source by name
    reading: how the models will be read, to refuse what cannot be before any training
    """

    work: Path
    models: ModelsConfig
    sources: Mapping[str, SourceConfig]
    reading: Reading
    device: torch.device

    def spec(self, name: ModelName) -> ModelSpec:
        spec = self.models.base if name == "base" else self.models.it
        assert not isinstance(spec, NoModel), "an experiment without models makes none"
        return spec


@dataclass(frozen=True)
class Model:
    """A model that is there: the folder of its weights and tokenizer, its record, and what to warn
    of when it is read as asked."""

    folder: Path
    record: ModelRecord
    warning: str | None


def materialise(shop: Workshop) -> dict[ModelName, Model]:
    """Fill `shop.work` with the models made here, the tokenizer and `models.json`.

    Raises ModelError where a model is missing or the two do not form a pair.
    """
    found: dict[ModelName, Model] = {}
    for name in sorted(MODELS, key=lambda name: FOUND_FIRST[shop.spec(name).kind]):
        match shop.spec(name):
            case EditedModel() as spec:
                found |= make_edited(shop, spec, found["base"])
            case spec:
                found[name] = _materialise_one(shop, name, spec, found)
    records = {name: found[name].record for name in MODELS}
    check_width(records)
    base, it = (read_tokenizer(found[name].folder) for name in MODELS)
    start = choose_start(shop.models.start, base, it)
    check_tokenizers(base, it, start, shop.reading.separator, embedded_by(records))
    base.save_pretrained(shop.work / TOKENIZER_DIR)
    write_start(shop.work, start)
    write_records(shop.work, records)
    return found


def _materialise_one(
    shop: Workshop,
    name: ModelName,
    spec: HubModel | LocalModel | MadeHere,
    found: Mapping[ModelName, Model],
) -> Model:
    warning = None
    match spec:
        case HubModel() as spec:
            folder = locate_hub(spec)
            warning = examine(name, folder, shop.reading)
            record = describe(folder, "hub", spec.repo, revision=folder.name)
        case LocalModel() as spec:
            folder = locate_local(spec)
            warning = examine(name, folder, shop.reading)
            record = describe(folder, "local", spec.path)
        case spec:
            if isinstance(spec, TrainedModel):
                check_layer(name, spec.n_layers, shop.reading.layer)
            folder = shop.work / name
            if not folder.exists():
                make(shop, name, spec, found)
            record = describe(folder, "here", name)
    return Model(folder, record, warning)


def make_edited(shop: Workshop, spec: EditedModel, base: Model) -> dict[ModelName, Model]:
    """Both models of a pair that differs by known edits, and the truth beside them. The base is a
    copy, too, where both models have an edit."""
    tokenizer = read_tokenizer(base.folder)
    start = choose_start(shop.models.start, tokenizer, tokenizer)
    token_ids = train_sequences(tokenizer, shop.sources, spec, shop.models.heldout, start.id)
    model = read_for_fitting(base, shop.device)
    ids = torch.from_numpy(token_ids).long()
    edits = draw_edits(model, ids, spec, set(tokenizer.all_special_ids))
    write_edits(shop.work, edits)
    found: dict[ModelName, Model] = {"base": base}
    folders: dict[ModelName, str] = {"base": EDITED_BASE, "it": "it"}
    for name, folder in folders.items():
        own = [edit for edit in edits if edit.models == ("it" if name == "it" else "both")]
        for edit in own:
            make_edit(model, edit)
        if own or name == "it":
            if not (shop.work / folder).exists():
                save_folder(model, tokenizer, shop.work / folder)
            record = describe(shop.work / folder, "here", folder)
            found[name] = Model(shop.work / folder, record, base.warning)
    return found


def make(shop: Workshop, name: ModelName, spec: MadeHere, found: Mapping[ModelName, Model]) -> None:
    """Train or tune one model into `shop.work/name`, resuming where a killed run left off."""
    bench = shop.work / f"{name}.training"
    bench.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_for(shop, spec, found)
    start = choose_start(shop.models.start, tokenizer, tokenizer)
    sequences = write_training_sequences(
        bench / "sequences.npy", tokenizer, shop.sources, spec, shop.models.heldout, start.id
    )
    model = starting_point(shop, spec, tokenizer, found)
    fit(model, sequences, spec, bench / "checkpoint.pt", progress_name=f"models_{name}")
    cast(nn.Module, model).to(DTYPE_SAVED[spec.precision])
    save_folder(model, tokenizer, shop.work / name)
    shutil.rmtree(bench)


def tokenizer_for(
    shop: Workshop, spec: MadeHere, found: Mapping[ModelName, Model]
) -> PreTrainedTokenizerFast:
    """The tokenizer of the model that `spec` starts from, or a new one."""
    if isinstance(spec, TunedModel):
        return read_tokenizer(found[spec.of].folder)
    return train_tokenizer_on(shop.sources, spec, shop.models.heldout)


def starting_point(
    shop: Workshop,
    spec: MadeHere,
    tokenizer: PreTrainedTokenizerFast,
    found: Mapping[ModelName, Model],
) -> PreTrainedModel:
    """The model before its training here, in float32: random weights, or the model tuned."""
    if isinstance(spec, TrainedModel):
        model = random_model(spec, tokenizer)
        cast(nn.Module, model).to(shop.device)
        return model
    return read_for_fitting(found[spec.of], shop.device)


def read_for_fitting(model: Model, device: torch.device) -> PreTrainedModel:
    """A model in float32 with the attention that its architecture can be trained with."""
    return read_model(model.folder, dtype="float32", attention="auto", device=device)


def save_folder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a Hugging Face folder, all or nothing."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with quiet():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    for path in (*partial.iterdir(), partial):
        sync(path)
    partial.rename(folder)
    sync(folder.parent)
