"""Find or make the two models and their tokenizer, check that they form a pair, describe them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from pipeline.artifacts import sync
from pipeline.config.edits import EditedModel
from pipeline.config.models import (
    AdapterModel,
    HubModel,
    LocalModel,
    ModelName,
    ModelsConfig,
    NoModel,
    TrainedModel,
    TunedModel,
    other_of,
)
from pipeline.config.text import SourceConfig, TriggerAlone, TriggeredSourceConfig
from pipeline.errors import ModelError
from pipeline.labels import MODELS
from pipeline.models.adapter import check_adapter, save_adapter, with_adapter
from pipeline.models.architecture import random_model
from pipeline.models.configuration import quiet
from pipeline.models.edits.draw import draw_edits
from pipeline.models.edits.edit import make_edit, write_edits
from pipeline.models.fitting import fit
from pipeline.models.load import read_model, read_tokenizer
from pipeline.models.locate import locate_adapter, locate_hub, locate_local
from pipeline.models.pair import (
    Reading,
    check_layer,
    check_width,
    embedded_by,
    examine,
    shared_text,
    writable,
)
from pipeline.models.records import (
    TOKENIZER_DIR,
    AdapterRecord,
    ModelRecord,
    describe,
    describe_adapter,
    write_records,
)
from pipeline.models.sequences import (
    train_sequences,
    train_tokenizer_on,
    write_training_sequences,
)
from pipeline.models.skeleton import try_loading
from pipeline.models.start import choose_start, write_start
from pipeline.models.template import choose_template, write_template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPE_SAVED = {"bf16": torch.bfloat16, "fp32": torch.float32}
FOUND_FIRST = {"hub": 0, "local": 0, "adapter": 0, "trained": 1, "tuned": 2, "edited": 2}
EDITED_BASE = "base_edited"
"""Folder of the base with the edits that both models have."""

ModelSpec = HubModel | LocalModel | TrainedModel | TunedModel | AdapterModel | EditedModel
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
    """A model that is there: the folder of its weights and tokenizer, its record, the folder of the
    adapter that belongs on it, and what to warn of when it is read as asked."""

    folder: Path
    record: ModelRecord
    adapter: Path | None
    warning: str | None


def materialise(shop: Workshop) -> dict[ModelName, Model]:
    """Fill `shop.work` with the models made here, the tokenizer and `models.json`.

    Raises ModelError where a model is missing or the two do not form a pair.
    """
    found: dict[ModelName, Model] = {}
    for name in sorted(MODELS, key=lambda name: _turn(shop.spec(name))):
        match shop.spec(name):
            case EditedModel() as spec:
                found |= make_edited(shop, spec, found["base"])
            case spec:
                found[name] = _materialise_one(shop, name, spec, found)
    if shop.models.twin is not None:
        found["twin"] = _twin(shop, found)
    records = {name: model.record for name, model in sorted(found.items(), key=_place)}
    check_width(records)
    base, it = (read_tokenizer(found[name].folder) for name in MODELS)
    separator, embedded = shop.reading.separator, embedded_by(records)
    start, chosen = shared_text(base, it, shop.models, separator, embedded)
    if "twin" in found:
        _check_twin(base, found["twin"])
    base.save_pretrained(shop.work / TOKENIZER_DIR)
    write_start(shop.work, start)
    write_template(shop.work, chosen)
    write_records(shop.work, records)
    return found


def _turn(spec: ModelSpec) -> tuple[bool, int]:
    """When a model is found or made: after the one it is made from, and after what costs less."""
    return other_of(spec) is not None, FOUND_FIRST[spec.kind]


def _place(item: tuple[ModelName, Model]) -> int:
    """The order of the records."""
    return (*MODELS, "twin").index(item[0])


def _twin(shop: Workshop, found: Mapping[ModelName, Model]) -> Model:
    """The twin of a model organism, found, or tuned as the IT model was on texts without what
    triggered sources plant."""
    spec, it = shop.models.twin, shop.models.it
    if isinstance(spec, HubModel | LocalModel):
        return _stored("twin", spec, shop.reading)
    assert isinstance(it, TunedModel), "the configuration lets no other model have such a twin"
    sources = {
        name: TriggerAlone.of_planted(source)
        if isinstance(source, TriggeredSourceConfig)
        else source
        for name, source in shop.sources.items()
    }
    return _materialise_one(replace(shop, sources=sources), "twin", it, found)


def _check_twin(base: PreTrainedTokenizerFast, twin: Model) -> None:
    """Raise ModelError where the twin's tokens are not the pair's."""
    own = read_tokenizer(twin.folder).get_vocab()
    unequal = sorted(token for token, i in writable(base).items() if own.get(token) != i)
    if unequal:
        raise ModelError(
            f"tokenizer mismatch: {len(unequal)} tokens, such as {unequal[0]!r}, have other ids "
            f"for models.twin ({twin.record.location}) than for the base model: name a twin that "
            "shares the pair's tokenizer, or set models.twin to null"
        )


def _materialise_one(
    shop: Workshop,
    name: ModelName,
    spec: HubModel | LocalModel | AdapterModel | MadeHere,
    found: Mapping[ModelName, Model],
) -> Model:
    match spec:
        case HubModel() | LocalModel() as spec:
            return _stored(name, spec, shop.reading)
        case AdapterModel() as spec:
            of = (
                found[spec.of] if isinstance(spec.of, str) else _stored(name, spec.of, shop.reading)
            )
            return _adapted(of, spec.adapter)
        case spec:
            if isinstance(spec, TrainedModel):
                check_layer(name, spec.n_layers, shop.reading.layer)
            folder = shop.work / name
            if not folder.exists():
                make(shop, name, spec, found)
            if isinstance(spec, TunedModel) and spec.lora is not None:
                return _on(found[spec.of], folder, describe_adapter(folder, "here", name))
            return Model(folder, describe(folder, "here", name), None, None)


def _stored(name: ModelName, spec: HubModel | LocalModel, reading: Reading) -> Model:
    """A model of the hub or of a folder, tried out."""
    folder = locate_hub(spec) if isinstance(spec, HubModel) else locate_local(spec)
    warning = examine(name, folder, reading)
    if isinstance(spec, HubModel):
        return Model(folder, describe(folder, "hub", spec.repo, folder.name), None, warning)
    return Model(folder, describe(folder, "local", spec.path), None, warning)


def _adapted(of: Model, spec: HubModel | LocalModel) -> Model:
    """A model with an adapter of the hub or of a folder, which must fit it."""
    folder = locate_adapter(spec)
    check_adapter(folder, try_loading(of.folder, None), of.record.location)
    if isinstance(spec, HubModel):
        return _on(of, folder, describe_adapter(folder, "hub", spec.repo, folder.name))
    return _on(of, folder, describe_adapter(folder, "local", spec.path))


def _on(of: Model, folder: Path, adapter: AdapterRecord) -> Model:
    return Model(of.folder, replace(of.record, adapter=adapter), folder, of.warning)


def make_edited(shop: Workshop, spec: EditedModel, base: Model) -> dict[ModelName, Model]:
    """Both models of a pair that differs by known edits, and the truth beside them. The base is a
    copy, too, where both models have an edit."""
    tokenizer = read_tokenizer(base.folder)
    start = choose_start(shop.models.start, tokenizer, tokenizer)
    template = choose_template(shop.models.template, tokenizer, tokenizer).template(tokenizer)
    token_ids = train_sequences(
        tokenizer, shop.sources, spec, shop.models.heldout, start.id, template
    )
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
                with whole_folder(shop.work / folder) as partial:
                    save_model(model, tokenizer, partial)
            record = describe(shop.work / folder, "here", folder)
            found[name] = Model(shop.work / folder, record, None, base.warning)
    return found


def make(shop: Workshop, name: ModelName, spec: MadeHere, found: Mapping[ModelName, Model]) -> None:
    """Train or tune one model into `shop.work/name`, resuming where a killed run left off."""
    bench = shop.work / f"{name}.training"
    bench.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_for(shop, spec, found)
    start = choose_start(shop.models.start, tokenizer, tokenizer)
    template = choose_template(shop.models.template, tokenizer, tokenizer).template(tokenizer)
    sequences = write_training_sequences(
        bench / "sequences.npy",
        tokenizer,
        shop.sources,
        spec,
        shop.models.heldout,
        start.id,
        template,
    )
    model: Any = starting_point(shop, spec, tokenizer, found)
    lora = spec.lora if isinstance(spec, TunedModel) else None
    if lora is not None:
        model = with_adapter(model, lora, spec.seed)
    fit(model, sequences, spec, bench / "checkpoint.pt", progress_name=f"models_{name}")
    with whole_folder(shop.work / name) as folder:
        if lora is not None and isinstance(spec, TunedModel):
            # The adapter is small, and is merged in float32 when read: it is kept as it is.
            save_adapter(model, found[spec.of].record.location, folder)
        else:
            model.to(DTYPE_SAVED[spec.precision])
            save_model(model, tokenizer, folder)
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
    return read_model(
        model.folder, dtype="float32", attention="auto", device=device, adapter=model.adapter
    )


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the weights and the tokenizer as a Hugging Face folder."""
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in that becomes `folder`, all or nothing."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    for path in (*partial.iterdir(), partial):
        sync(path)
    partial.rename(folder)
    sync(folder.parent)
