"""What is here of a pair before anything is downloaded or made: folders, configurations, and what
the stage `models` would object to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.models import (
    AdapterModel,
    HubModel,
    LocalModel,
    ModelsConfig,
    NoModel,
    TrainedModel,
)
from pipeline.errors import ModelError
from pipeline.hub_cache import how_to_get, in_hub_cache
from pipeline.labels import MODELS
from pipeline.models import architecture
from pipeline.models.configuration import quiet, read_configuration, shape_of
from pipeline.models.load import read_tokenizer
from pipeline.models.locate import locate_adapter, locate_local
from pipeline.models.pair import Reading, examine, shared_text
from pipeline.models.skeleton import weight_files
from pipeline.paths import located

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Of the shape that transformers' class has by default: the published plan needs no download.
KNOWN = {"google/gemma-2-2b": "gemma2", "google/gemma-2-2b-it": "gemma2"}


def place_of(spec: HubModel | LocalModel) -> Path | None:
    """Where a model lies, or should lie; None where nothing of it has been downloaded."""
    if isinstance(spec, LocalModel):
        return located(spec.path)
    return in_hub_cache(spec.repo, spec.revision)


def configuration_of(models: ModelsConfig, spec: Any) -> PreTrainedConfig | None:
    """What transformers is told of a model, given by its name in the pair or as it is configured;
    None where nothing on this machine tells it, or where there is no model."""
    match spec:
        case str():
            return configuration_of(models, getattr(models, spec))
        case NoModel():
            return None
        case TrainedModel():
            return architecture.configuration_of(spec)
        case LocalModel() | HubModel():
            folder = place_of(spec)
            if folder is not None and folder.exists():
                return read_configuration(folder)
            return _known(spec)
        case _:  # tuned, edited, or an adapter: as large as the model that it is made from
            return configuration_of(models, spec.of)


def _known(spec: HubModel | LocalModel) -> PreTrainedConfig | None:
    from transformers import AutoConfig

    known = KNOWN.get(spec.repo) if isinstance(spec, HubModel) else None
    with quiet():
        return AutoConfig.for_model(known) if known else None


def refused_models(models: ModelsConfig, reading: Reading) -> list[str]:
    """What the stage `models` would object to, asked of the folders that are here."""
    folders, refused = dict[str, Path](), list[str]()
    for name in MODELS:
        try:
            if folder := _folder(getattr(models, name)):
                examine(name, folder, reading)
                folders[name] = folder
        except ModelError as error:
            refused.append(f"models.{name}: {error}")
    if folders and not refused and not any(absent_models(models)):
        try:
            _check_texts(models, folders, reading.separator)
        except ModelError as error:
            refused.append(f"models: {error}")
    return refused


def absent_models(models: ModelsConfig) -> Iterator[str]:
    """What is yet to be downloaded, and the command that does it."""
    for name in MODELS:
        spec = getattr(models, name)
        spec = spec.of if isinstance(spec, AdapterModel) else spec
        if isinstance(spec, HubModel) and not _is_downloaded(spec):
            yield f"models.{name}: {how_to_get(spec.repo, spec.revision)}"


def _folder(spec: Any) -> Path | None:
    """Where the weights lie that a model has, or has an adapter on; None where they are made here,
    or are yet to be downloaded. ModelError where no model can be made of them."""
    if isinstance(spec, AdapterModel):
        if isinstance(spec.adapter, LocalModel):
            locate_adapter(spec.adapter)
        return _folder(spec.of)
    if isinstance(spec, LocalModel):
        return locate_local(spec)
    return place_of(spec) if isinstance(spec, HubModel) and _is_downloaded(spec) else None


def _is_downloaded(spec: HubModel) -> bool:
    """Whether all weights of a hub model are here."""
    try:
        return bool(weight_files(place_of(spec) or Path("nowhere")))
    except ModelError:
        return False


def _check_texts(models: ModelsConfig, folders: dict[str, Path], separator: str) -> None:
    """Whether the tokenizers of what is here form a pair; a tuned model has the other's."""
    some = next(iter(folders.values()))
    base, it = (read_tokenizer(folders.get(name, some)) for name in MODELS)
    embedded = {
        f"models.{name} ({folder})": shape_of(read_configuration(folder), folder).vocab_size
        for name, folder in folders.items()
    }
    shared_text(base, it, models, separator, embedded)
