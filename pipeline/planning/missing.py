"""What stands between an experiment and its first result: weights, data, space, memory, device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.config.crosscoder import PretrainedConfig
from pipeline.config.models import AdapterModel, HubModel, LocalModel
from pipeline.crosscoder.layouts.source import find
from pipeline.errors import MissingArtifactError, ModelError, SourceError
from pipeline.labels import MODELS
from pipeline.models.configuration import read_configuration, shape_of
from pipeline.models.load import read_tokenizer
from pipeline.models.locate import locate_adapter, locate_local
from pipeline.models.pair import examine, reading_of, shared_text
from pipeline.models.skeleton import weight_files
from pipeline.planning.rates import Machine
from pipeline.planning.sizes import folder_of
from pipeline.planning.tables import peak_disk, total
from pipeline.planning.terms import Costs
from pipeline.text.sources import describe

DAY_SECONDS = 86_400
DVC_BYTES_PER_SECOND = 370e6  # hashing, per core; measured with DVC 3.67
GATED = ("google/gemma", "meta-llama/")


def missing_for(config: Config, machine: Machine, costs: Costs) -> list[str]:
    """One line per thing that is missing, each with its remedy; empty when the run can start."""
    models = (*refused_models(config), *_absent_models(config))
    return [*models, *_sources(config), *_crosscoder(config), *_room(config, machine, costs)]


def refused_models(config: Config) -> list[str]:
    """What the stage `models` would object to, asked of the folders that are here. Such models are
    not tried out: whatever they would end in says less than this."""
    reading, folders, refused = (
        reading_of(config.hook_point, config.mix),
        dict[str, Path](),
        list[str](),
    )
    for name in MODELS:
        try:
            if folder := _folder(getattr(config.models, name)):
                examine(name, folder, reading)
                folders[name] = folder
        except ModelError as error:
            refused.append(f"models.{name}: {error}")
    if folders and not refused and not any(_absent_models(config)):
        try:
            _check_texts(config, folders)
        except ModelError as error:
            refused.append(f"models: {error}")
    return refused


def _folder(spec: Any) -> Path | None:
    """Where the weights lie that a model has, or has an adapter on; None where they are made here,
    or are yet to be downloaded. ModelError where no model can be made of them."""
    if isinstance(spec, AdapterModel):
        if isinstance(spec.adapter, LocalModel):
            locate_adapter(spec.adapter)
        return _folder(spec.of)
    if isinstance(spec, LocalModel):
        return locate_local(spec)
    return folder_of(spec) if isinstance(spec, HubModel) and _is_downloaded(spec) else None


def _is_downloaded(spec: HubModel) -> bool:
    """Whether all weights of a hub model are here."""
    try:
        return bool(weight_files(folder_of(spec) or Path("nowhere")))
    except ModelError:
        return False


def _absent_models(config: Config) -> Iterator[str]:
    for name in MODELS:
        spec = getattr(config.models, name)
        spec = spec.of if isinstance(spec, AdapterModel) else spec
        if isinstance(spec, HubModel) and not _is_downloaded(spec):
            yield f"models.{name}: {_to_download(spec)}"


def _to_download(spec: HubModel | PretrainedConfig) -> str:
    from huggingface_hub import get_token

    is_closed = str(spec.repo).startswith(GATED) and not get_token()
    gate = "it is gated, accept its terms on its page and `hf auth login`; " if is_closed else ""
    revision = f" --revision {spec.revision}" if spec.revision else ""
    return f"{spec.repo} is not in the local hub cache: {gate}`hf download {spec.repo}{revision}`"


def _check_texts(config: Config, folders: dict[str, Path]) -> None:
    """Whether the tokenizers of what is here form a pair; a tuned model has the other's."""
    some = next(iter(folders.values()))
    base, it = (read_tokenizer(folders.get(name, some)) for name in MODELS)
    embedded = {
        f"models.{name} ({folder})": shape_of(read_configuration(folder), folder).vocab_size
        for name, folder in folders.items()
    }
    shared_text(base, it, config.models, config.mix.separator, embedded)


def _sources(config: Config) -> Iterator[str]:
    """Files that are not there, and data sets of the hub that do not answer."""
    for name, source in config.sources.items():
        try:
            describe(source, name)
        except SourceError as error:
            yield str(error)


def _crosscoder(config: Config) -> Iterator[str]:
    """A finished crosscoder that is not on this machine."""
    spec = config.crosscoder
    if not isinstance(spec, PretrainedConfig):
        return
    folder = folder_of(spec)
    try:
        if folder is None:
            yield f"crosscoder.repo: {_to_download(spec)}"
        else:
            find(folder)
    except MissingArtifactError as error:
        yield f"crosscoder.{'repo' if spec.path is None else 'path'}: {error}"


def _room(config: Config, machine: Machine, costs: Costs) -> Iterator[str]:
    """Space, memory, a device, and a place for stores too large for DVC to hash and keep twice."""
    needed, free = peak_disk(costs) / 1e9, machine.free_disk_bytes / 1e9
    if needed > free:
        yield (
            f"disk: {needed:,.0f} GB needed, {free:,.0f} GB free: run in a folder on a larger "
            "disk, make training rows in rounds (dump.rows_per_round), or lower mix.n_train_tokens"
        )
    for stage, cost in costs.items():
        room = machine.memory_bytes if stage == "shuffle" else machine.device_memory_bytes
        if cost.memory > room:
            yield (
                f"memory: {stage} needs about {cost.memory / 1e9:,.0f} GB, {machine.device_name} "
                f"has {room / 1e9:,.0f} GB: lower batch sizes or use a larger machine"
            )
    days = total(costs).seconds / DAY_SECONDS
    if machine.device == "cpu" and days > 7:
        yield (
            f"device: about {days:,.0f} days on {machine.device_name}: run on a machine with a "
            "CUDA GPU"
        )
    if costs and config.runtime.bulk_dir is None:
        n_bytes = costs["dump"].disk + costs["dump"].scratch + costs["shuffle"].disk
        hours = n_bytes / DVC_BYTES_PER_SECOND / 3600
        if hours >= 1:
            yield (
                f"runtime.bulk_dir: DVC would hash {n_bytes / 1e9:,.0f} GB of stores, about "
                f"{hours:,.0f} hours on one core, and copy them where the file system has no "
                "links: set runtime.bulk_dir=data/bulk (or a folder on a larger disk)"
            )
