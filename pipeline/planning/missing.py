"""What stands between an experiment and its first result: weights, data, space, memory, device."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.config.models import AdapterModel, HubModel, LocalModel
from pipeline.config.text import FilesSourceConfig, HubSourceConfig, TriggeredSourceConfig
from pipeline.errors import ModelError
from pipeline.labels import MODELS
from pipeline.models.configuration import read_configuration, shape_of
from pipeline.models.load import read_tokenizer
from pipeline.models.locate import locate_adapter, locate_local
from pipeline.models.pair import check_tokenizers, examine, reading_of
from pipeline.models.skeleton import weight_files
from pipeline.models.start import choose_start
from pipeline.models.template import choose_template
from pipeline.paths import located, located_pattern
from pipeline.planning.cost import StageCost, peak_disk
from pipeline.planning.dictionary import WEIGHTS, is_here
from pipeline.planning.machine import Machine
from pipeline.planning.model_size import cached_hub_file, sizes_of
from pipeline.planning.terms import terms_of

DAY_SECONDS = 86_400
DVC_BYTES_PER_SECOND = 370e6  # hashing, per core; measured with DVC 3.67
HUB_TIMEOUT_SECONDS = 5
GATED = ("google/gemma", "meta-llama/", "lmsys/lmsys-chat-1m")


def missing_for(config: Config, machine: Machine, costs: Sequence[StageCost]) -> list[str]:
    """One line per thing that is missing, each with its remedy; empty when the run can start."""
    return [
        *_missing_models(config),
        *_missing_sources(config),
        *_missing_crosscoder(config),
        *_missing_room(machine, costs),
        *_missing_device(machine, costs),
        *_missing_bulk(config, machine),
    ]


def _missing_models(config: Config) -> list[str]:
    """What the stage `models` would object to, asked of the folders that are here."""
    if not config.has_models:
        return []
    reading, folders, lines = reading_of(config.hook_point, config.mix), {}, []
    for name in MODELS:
        spec, adapter = getattr(config.models, name), None
        if isinstance(spec, AdapterModel):
            spec, adapter = spec.of, spec.adapter
        try:
            if isinstance(adapter, LocalModel):
                locate_adapter(adapter)
            if not isinstance(spec, LocalModel | HubModel):
                continue
            folder = _whole_folder(spec)
            if folder is None:
                lines.append(f"models.{name}: {_how_to_get(spec)}")
            else:
                examine(name, folder, reading)
                folders[name] = folder
        except ModelError as error:
            lines.append(f"models.{name}: {error}")
    return lines or _missing_tokens(config, folders)


def _whole_folder(spec: LocalModel | HubModel) -> Path | None:
    """The folder of a model; None for one whose weights are yet to be downloaded."""
    if isinstance(spec, LocalModel):
        return locate_local(spec)
    config = cached_hub_file(spec, "config.json")
    if config is None:
        return None
    try:
        weight_files(config.parent)
    except ModelError:
        return None
    return config.parent


def _how_to_get(spec: LocalModel | HubModel) -> str:
    assert isinstance(spec, HubModel), "a local folder is here, or an error"
    return (
        f"{spec.repo} is not in the local hub cache: {_download_hint(spec.repo)}"
        f"`hf download {spec.repo} --revision {spec.revision}`"
    )


def _missing_tokens(config: Config, folders: Mapping[str, Path]) -> list[str]:
    """Whether the tokenizers of what is here form a pair; a tuned model has the other's."""
    if not folders:
        return []
    tokenizer_of = {name: folders.get(name, next(iter(folders.values()))) for name in MODELS}
    try:
        base, it = (read_tokenizer(tokenizer_of[name]) for name in MODELS)
        start = choose_start(config.mix.start, base, it)
        embedded = {
            f"models.{name} ({folder})": shape_of(read_configuration(folder), folder).vocab_size
            for name, folder in folders.items()
        }
        controls = choose_template(config.mix.template, base, it).controls
        check_tokenizers(base, it, start, config.mix.separator, embedded, controls=controls)
    except ModelError as error:
        return [f"models: {error}"]
    return []


def _missing_sources(config: Config) -> list[str]:
    lines = []
    for name, source in config.sources.items():
        spec = source.of if isinstance(source, TriggeredSourceConfig) else source
        if isinstance(spec, FilesSourceConfig):
            lines += [
                f"sources.{name}.paths: no file matches {pattern}: mend the path"
                for pattern in spec.paths
                if not glob.glob(str(located_pattern(pattern)), recursive=True)  # noqa: PTH207
            ]
        elif isinstance(spec, HubSourceConfig) and not _reachable(spec):
            lines.append(
                f"sources.{name}: {spec.dataset} cannot be reached from here: "
                f"{_download_hint(spec.dataset)}run where the hub can be reached, or use "
                f"sources.{name}.kind=files with local copies"
            )
    return lines


def _missing_crosscoder(config: Config) -> list[str]:
    """A finished crosscoder that is not on this machine."""
    crosscoder = config.crosscoder
    if crosscoder.kind != "pretrained" or is_here(crosscoder):
        return []
    if crosscoder.path is not None:
        folder = Path(crosscoder.path) / (crosscoder.subfolder or "")
        return [
            f"crosscoder.path: no {' or '.join(WEIGHTS)} in {folder}: give the folder of a "
            "finished crosscoder"
        ]
    revision = f" --revision {crosscoder.revision}" if crosscoder.revision else ""
    return [
        f"crosscoder.repo: {crosscoder.repo} is not in the local hub cache: "
        f"`hf download {crosscoder.repo}{revision}`"
    ]


def _download_hint(repo: str) -> str:
    """What a gated repository asks for first."""
    from huggingface_hub import get_token

    if not repo.startswith(GATED) or get_token():
        return ""
    return "it is gated, accept its terms on its page and `hf auth login`; "


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


def _missing_room(machine: Machine, costs: Sequence[StageCost]) -> list[str]:
    lines = []
    needed = peak_disk(costs)
    if needed > machine.free_disk_bytes:
        lines.append(
            f"disk: {needed / 1e9:,.0f} GB needed, {machine.free_disk_bytes / 1e9:,.0f} GB free: "
            "run in a folder on a larger disk, make training rows in rounds (dump.rows_per_round), "
            "or lower mix.n_train_tokens"
        )
    for cost in costs:
        room = machine.memory_bytes if cost.stage == "shuffle" else machine.device_memory_bytes
        if cost.memory_bytes > room:
            lines.append(
                f"memory: {cost.stage} needs about {cost.memory_bytes / 1e9:,.0f} GB, "
                f"{machine.device_name} has {room / 1e9:,.0f} GB: lower batch sizes or use a "
                "larger machine"
            )
    return lines


def _missing_device(machine: Machine, costs: Sequence[StageCost]) -> list[str]:
    days = sum(cost.seconds for cost in costs) / DAY_SECONDS
    if machine.device == "cpu" and days > 7:
        return [
            f"device: about {days:,.0f} days on {machine.device_name}: run on a machine with a "
            "CUDA GPU"
        ]
    return []


def _missing_bulk(config: Config, machine: Machine) -> list[str]:
    """Stores too large for DVC to hash and to keep twice."""
    if config.runtime.bulk_dir is not None or sizes_of(config) is None:
        return []
    n_bytes = terms_of(config, machine).store_bytes()
    hours = n_bytes / DVC_BYTES_PER_SECOND / 3600
    if hours < 1:
        return []
    return [
        f"runtime.bulk_dir: DVC would hash {n_bytes / 1e9:,.0f} GB of stores, about {hours:,.0f} "
        "hours on one core, and copy them where the file system has no links: set "
        "runtime.bulk_dir=data/bulk (or a folder on a larger disk)"
    ]
