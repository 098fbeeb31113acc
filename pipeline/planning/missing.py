"""What stands between an experiment and its first result: weights, data, space, memory, device."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.config.models import AdapterModel, HubModel, LocalModel
from pipeline.config.text import FilesSourceConfig, HubSourceConfig, TriggeredSourceConfig
from pipeline.crosscoder.layouts.source import find
from pipeline.errors import MissingArtifactError, ModelError
from pipeline.labels import MODELS
from pipeline.models.configuration import read_configuration, shape_of
from pipeline.models.load import read_tokenizer
from pipeline.models.locate import locate_adapter, locate_local
from pipeline.models.pair import examine, reading_of, shared_text
from pipeline.models.skeleton import weight_files
from pipeline.paths import located, matching
from pipeline.planning.rates import Machine
from pipeline.planning.sizes import cached_hub_file, finished, sizes_of
from pipeline.planning.tables import peak_disk
from pipeline.planning.terms import StageCost, Terms

DAY_SECONDS = 86_400
DVC_BYTES_PER_SECOND = 370e6  # hashing, per core; measured with DVC 3.67
HUB_TIMEOUT_SECONDS = 5
GATED = ("google/gemma", "meta-llama/", "lmsys/lmsys-chat-1m")


def missing_for(config: Config, machine: Machine, costs: Sequence[StageCost]) -> list[str]:
    """One line per thing that is missing, each with its remedy; empty when the run can start."""
    refused, absent = _models(config)
    lines = [*refused, *absent, *_sources(config), *_crosscoder(config)]
    return [*lines, *_room(config, machine, costs)]


def refused_models(config: Config) -> list[str]:
    """What the stage `models` would object to, asked of the folders that are here. Such models are
    not tried out: whatever they would end in says less than this."""
    return _models(config)[0]


def _models(config: Config) -> tuple[list[str], list[str]]:
    """What the stage `models` would object to, and which models are yet to be downloaded."""
    reading = reading_of(config.hook_point, config.mix)
    folders, refused, absent = dict[str, Path](), list[str](), list[str]()
    for name in MODELS:
        spec = getattr(config.models, name)
        try:
            if isinstance(spec, AdapterModel):
                if isinstance(spec.adapter, LocalModel):
                    locate_adapter(spec.adapter)
                spec = spec.of
            folder = None
            if isinstance(spec, LocalModel):
                folder = locate_local(spec)
            elif isinstance(spec, HubModel):
                folder = _downloaded(spec)
                absent += [] if folder else [f"models.{name}: {_how_to_get(spec)}"]
            if folder:
                examine(name, folder, reading)
                folders[name] = folder
        except ModelError as error:
            refused.append(f"models.{name}: {error}")
    if folders and not refused and not absent:
        try:
            _check_texts(config, folders)
        except ModelError as error:
            refused.append(f"models: {error}")
    return refused, absent


def _downloaded(spec: HubModel) -> Path | None:
    """The folder of a hub model; None where some of its weights are yet to be downloaded."""
    config = cached_hub_file(spec, "config.json")
    try:
        weight_files(config.parent if config else Path("nowhere"))
    except ModelError:
        return None
    return config.parent if config else None


def _how_to_get(spec: HubModel) -> str:
    return (
        f"{spec.repo} is not in the local hub cache: {_download_hint(spec.repo)}"
        f"`hf download {spec.repo} --revision {spec.revision}`"
    )


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
    for name, source in config.sources.items():
        spec = source.of if isinstance(source, TriggeredSourceConfig) else source
        if isinstance(spec, FilesSourceConfig):
            for pattern in spec.paths:
                if not matching(pattern):
                    yield f"sources.{name}.paths: no file matches {pattern}: mend the path"
        elif isinstance(spec, HubSourceConfig) and not _reachable(spec):
            yield (
                f"sources.{name}: {spec.dataset} cannot be reached from here: "
                f"{_download_hint(spec.dataset)}run where the hub can be reached, or use "
                f"sources.{name}.kind=files with local copies"
            )


def _reachable(spec: HubSourceConfig) -> bool:
    """Whether the hub answers for this dataset within a few seconds."""
    if located(spec.dataset).exists():
        return True
    from huggingface_hub import HfApi, errors

    try:
        HfApi().dataset_info(spec.dataset, revision=spec.revision, timeout=HUB_TIMEOUT_SECONDS)
    except (errors.HTTPError, OSError):  # pyright: ignore[reportPrivateImportUsage]
        return False
    return True


def _download_hint(repo: str) -> str:
    """What a gated repository asks for first."""
    from huggingface_hub import get_token

    if not repo.startswith(GATED) or get_token():
        return ""
    return "it is gated, accept its terms on its page and `hf auth login`; "


def _crosscoder(config: Config) -> Iterator[str]:
    """A finished crosscoder that is not on this machine."""
    crosscoder = config.crosscoder
    if crosscoder.kind == "pretrained":
        try:
            folder = finished(crosscoder)
            if folder is not None:
                find(folder)
                return
            revision = f" --revision {crosscoder.revision}" if crosscoder.revision else ""
            yield (
                f"crosscoder.repo: {crosscoder.repo} is not in the local hub cache: "
                f"`hf download {crosscoder.repo}{revision}`"
            )
        except MissingArtifactError as error:
            yield f"crosscoder.path: {error}"


def _room(config: Config, machine: Machine, costs: Sequence[StageCost]) -> Iterator[str]:
    """Space, memory, a device, and a place for stores too large for DVC to hash and keep twice."""
    needed, free = peak_disk(costs) / 1e9, machine.free_disk_bytes / 1e9
    if needed > free:
        yield (
            f"disk: {needed:,.0f} GB needed, {free:,.0f} GB free: run in a folder on a larger "
            "disk, make training rows in rounds (dump.rows_per_round), or lower mix.n_train_tokens"
        )
    for cost in costs:
        room = machine.memory_bytes if cost.stage == "shuffle" else machine.device_memory_bytes
        if cost.memory_bytes > room:
            yield (
                f"memory: {cost.stage} needs about {cost.memory_bytes / 1e9:,.0f} GB, "
                f"{machine.device_name} has {room / 1e9:,.0f} GB: lower batch sizes or use a "
                "larger machine"
            )
    days = sum(cost.seconds for cost in costs) / DAY_SECONDS
    if machine.device == "cpu" and days > 7:
        yield (
            f"device: about {days:,.0f} days on {machine.device_name}: run on a machine with a "
            "CUDA GPU"
        )
    if config.runtime.bulk_dir is None and sizes_of(config) is not None:
        n_bytes = Terms(config).store_bytes()
        hours = n_bytes / DVC_BYTES_PER_SECOND / 3600
        if hours >= 1:
            yield (
                f"runtime.bulk_dir: DVC would hash {n_bytes / 1e9:,.0f} GB of stores, about "
                f"{hours:,.0f} hours on one core, and copy them where the file system has no "
                "links: set runtime.bulk_dir=data/bulk (or a folder on a larger disk)"
            )
