"""Run several stages one after the other in one process, which spares their start-up.

    python -m stages.chain train,latent_scaling,recovery +experiment=planted seed=7

reads, writes, costs   what the stages do; every stage checks its inputs as if run alone. Memory
                       that earlier ones leave taken counts against `shuffle.memory_bytes`
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.stage import run


def main(names: list[str]) -> None:
    if not names:
        raise ConfigError("no stage given: name some, such as train,latent_scaling")
    for stage in [named(name) for name in names]:
        run(stage.STAGE, stage.main)


def named(name: str) -> Any:
    """The module of a stage; ConfigError where there is none, before any stage has run."""
    module = f"stages.{name}"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        known = ", ".join(sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py")))
        raise ConfigError(
            f"no stage is called {name!r}, expected some of {known}: mend the name"
        ) from error


if __name__ == "__main__":
    chosen = sys.argv.pop(1).split(",") if len(sys.argv) > 1 else []
    try:
        main(chosen)
    except ConfigError as error:
        sys.exit(f"error: {error}")
