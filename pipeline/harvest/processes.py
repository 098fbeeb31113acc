"""Which dumps several processes can share."""

from pipeline.config.models import DumpConfig
from pipeline.distributed import world
from pipeline.errors import ConfigError


def check_one_process(section: DumpConfig) -> None:
    """Refuse several processes where one alone knows which row is the next."""
    if world().size == 1:
        return
    for key, value, why in (
        ("scatter_seed", section.scatter_seed, "deals rows to buckets"),
        ("max_norm_ratio", section.max_norm_ratio, "counts the rows that it leaves out"),
    ):
        if value is not None:
            raise ConfigError(
                f"dump.{key} is {value:g}, but one process {why} and {world().size} were started: "
                f"set dump.{key}=null, or run `python -m stages.dump` without torchrun"
            )
