"""Which dumps several processes can share."""

from pipeline.config.models import DumpConfig
from pipeline.distributed import world
from pipeline.errors import ConfigError


def check_one_process(section: DumpConfig) -> None:
    """Refuse several processes where one alone knows which row is the next."""
    if world().size > 1 and section.max_norm_ratio is not None:
        raise ConfigError(
            f"dump.max_norm_ratio is {section.max_norm_ratio:g}, but one process counts the rows "
            f"that it leaves out and {world().size} were started: set dump.max_norm_ratio=null, or "
            "run `python -m stages.dump` without torchrun"
        )
