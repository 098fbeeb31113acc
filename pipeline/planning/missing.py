"""What stands between an experiment and its first result: weights, data, space, memory, device."""

from collections.abc import Iterator

from pipeline.config import Config
from pipeline.config.crosscoder import PretrainedConfig
from pipeline.errors import ArtifactError, SourceError
from pipeline.hub_cache import how_to_get
from pipeline.models.here import absent_models, refused_models
from pipeline.models.pair import reading_of
from pipeline.planning.rates import Machine
from pipeline.planning.tables import peak_disk, total
from pipeline.planning.terms import Costs
from pipeline.text.sources import describe
from pipeline.training.finished import check_finished, place_of

DAY_SECONDS = 86_400
DVC_BYTES_PER_SECOND = 370e6  # hashing, per core; measured with DVC 3.67


def missing_for(config: Config, machine: Machine, costs: Costs) -> list[str]:
    """One line per thing that is missing, each with its remedy; empty when the run can start."""
    return [
        *refused_models(config.models, reading_of(config.hook_point, config.mix)),
        *absent_models(config.models),
        *_sources(config),
        *_crosscoder(config),
        *_room(config, machine, costs),
    ]


def _sources(config: Config) -> Iterator[str]:
    """Files that are not there, and data sets of the hub that do not answer."""
    for name, source in config.sources.items():
        try:
            describe(source, name)
        except SourceError as error:
            yield str(error)


def _crosscoder(config: Config) -> Iterator[str]:
    """A finished crosscoder that is not on this machine, or is none of this pair and layer."""
    spec = config.crosscoder
    if not isinstance(spec, PretrainedConfig):
        return
    if place_of(spec) is None:
        yield f"crosscoder.repo: {how_to_get(str(spec.repo), spec.revision)}"
        return
    try:
        check_finished(config)
    except ArtifactError as error:
        yield str(error)


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
