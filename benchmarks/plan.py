"""What `stages.plan` says a run takes, over what it then takes, stage by stage.

    python -m benchmarks.plan --json OUT [--dir FOLDER] +experiment=tiny [overrides]

Both in processor time of one thread, so that a machine may be busy: rates are measured as the plan
measures them, then every stage of the graph runs in a process of its own in a folder that is
removed afterwards (`--dir` keeps it, and what it holds is not run again). Waiting for the disk is
no processor time: the disk's share of a stage is left out of both.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import compose
from pipeline.planning.measure import rates_here
from pipeline.planning.rates import look_at_machine
from pipeline.planning.terms import estimate

ROOT = Path(__file__).parents[1]
ONE_THREAD = ["runtime.n_threads=1", "runtime.io_threads=1", "runtime.device=cpu"]
TIMES = "times.json"


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def planned(overrides: list[str]) -> dict[str, float]:
    """Stage -> seconds, from rates measured now."""
    config = compose(overrides)
    machine = look_at_machine("cpu", config.runtime.n_threads, Path())
    rates = rates_here(config, machine, processor_seconds)
    assert rates is not None, "a model of this experiment is not here"
    costs = estimate(config, replace(rates, byte=0.0))
    return {stage: cost.seconds for stage, cost in costs.items()}


def taken(stages: list[str], overrides: list[str]) -> dict[str, float]:
    """Stage -> seconds of its process; runs in the current folder."""
    known: dict[str, float] = json.loads(Path(TIMES).read_text()) if Path(TIMES).exists() else {}
    for stage in [stage for stage in stages if stage not in known]:
        before = processor_seconds()
        command = [sys.executable, "-m", f"stages.{stage}", *overrides]
        subprocess.run(command, check=True, env=environment())
        known[stage] = processor_seconds() - before
        Path(TIMES).write_text(json.dumps(known))
    return {stage: known[stage] for stage in stages}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def compare(overrides: list[str]) -> dict[str, Any]:
    """Figures of the current folder, which has `conf/`."""
    plan = planned(overrides)
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = taken([stage for stage in graph if stage in plan], overrides)
    return {
        "planned_over_taken": sum(plan.values()) / sum(found.values()),
        "stages": {
            stage: {"planned": plan[stage], "taken": found[stage], "ratio": plan[stage] / seconds}
            for stage, seconds in found.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--dir", type=Path, help="a folder that is kept, or gone on with")
    arguments, overrides = parser.parse_known_args()
    out = arguments.json.absolute()
    folder = arguments.dir or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
    os.chdir(folder)
    figures = compare([*overrides, *ONE_THREAD])
    out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    if not arguments.dir:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
