"""Run several stages one after the other in one process, which spares their start-up.

    python -m stages.chain train,latent_scaling,recovery +experiment=planted seed=7

reads, writes, costs   what the stages do; every stage checks its inputs as if run alone
"""

import sys
from importlib import import_module

from pipeline.errors import ConfigError
from pipeline.stage import run


def main(names: list[str]) -> None:
    for name in names:
        try:
            stage = import_module(f"stages.{name}")
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"no stage is called {name!r}: see stages/ for their names"
            ) from error
        run(stage.STAGE, stage.main)


if __name__ == "__main__":
    chosen = sys.argv.pop(1).split(",") if len(sys.argv) > 1 else []
    try:
        main(chosen)
    except ConfigError as error:
        sys.exit(f"error: {error}")
