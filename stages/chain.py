"""Run several stages one after the other in one process, which spares their start-up.

    python -m stages.chain train,latent_scaling,recovery +experiment=planted seed=7
    torchrun --nproc-per-node=2 -m stages.chain dump,shuffle,train   # stages that several can share

reads, writes, costs   what the stages do; every stage checks its inputs as if run alone. One that
                       limits the memory of its process has a process of its own
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.command import command
from pipeline.distributed import check_processes
from pipeline.errors import ConfigError
from pipeline.interruption import run_child
from pipeline.stage import run


def started(typed: list[str]) -> None:
    sys.argv[1:] = typed[1:]
    main(typed[0].split(",") if typed else [])


def main(names: list[str]) -> None:
    if not names:
        raise ConfigError("no stage given: name some, such as train,latent_scaling")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"the chain has {repeated[0]} {names.count(repeated[0])} times, expected each stage "
            "once: leave the others out"
        )
    chained = [named(name) for name in names]
    for stage in chained:
        check_processes(stage.STAGE.name, is_parallel=stage.STAGE.is_parallel)
    for position, stage in enumerate(chained):
        if stage.STAGE.limits_memory and position:
            run_apart(stage.STAGE.name)
        else:
            run(stage.STAGE, stage.main)


def run_apart(name: str) -> None:
    """Run a stage in a process of its own, which holds nothing of the stages before; what stops it
    stops the chain."""
    status, said = run_child([sys.executable, "-m", f"stages.{name}", *sys.argv[1:]])
    sys.stderr.write(said)
    if status:
        sys.exit(status)


def named(name: str) -> Any:
    """The module of a stage; ConfigError where there is none, before any stage has run."""
    if name not in (known := stages()):
        raise ConfigError(
            f"no stage that a chain can run is called {name!r}, expected some of "
            f"{', '.join(known)}: mend the name"
        )
    return import_module(f"stages.{name}")


def stages() -> list[str]:
    """Modules beside this one that declare a stage."""
    files = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return [file.stem for file in files if "\nSTAGE = Stage(" in file.read_text()]


if __name__ == "__main__":
    command("chain", started, is_parallel=True)
