"""A fresh copy of the repository in which the graph runs at the `smoke` size."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import yaml

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    "data",
    "results",
    "logs",
    "cache",
    "tmp",
    "dvc.lock",
    ".*_cache",
    "*.pyc.*",
)
"""What was compiled is copied with its source, but for files that a process is about to rename."""
OWN_PROGRAMS = [str(Path(sys.executable).parent)]
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = list(GRAPH)
ALWAYS_RUN = [name for name in STAGES if GRAPH[name].get("always_changed")]


class Checkout:
    """A copy of the repository with its own git history and DVC cache.

    programs: the folder of `tests.warm` with a `dvc` and a `python` that start in no time, if any
    """

    def __init__(self, path: Path, programs: str | None = None) -> None:
        self.path, self.programs = path, programs

    @classmethod
    def fresh(cls, path: Path, programs: str | None = None) -> Self:
        """Copied to `path` and committed; nothing has run."""
        shutil.copytree(ROOT, path, ignore=LEFT_OUT)
        copy = cls(path, programs)
        copy.run("git", "init", "-q")
        copy.run("git", "config", "user.email", "test@example.org")
        copy.run("git", "config", "user.name", "test")
        copy.override("")
        copy.run("git", "add", "-A")
        copy.run("git", "commit", "-qm", "fresh")
        return copy

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        first = [self.programs] if self.programs else []
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([*first, *OWN_PROGRAMS, os.environ["PATH"]]),
            "HF_HUB_OFFLINE": "1",
        }
        done = subprocess.run(
            command, cwd=self.path, capture_output=True, text=True, env=environment, check=False
        )
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def run_stages(self, *stages: str) -> None:
        """Run stages without DVC, in one process, which starts once."""
        self.run("python", "-m", "stages.chain", ",".join(stages))

    def repro(self, *targets: str) -> list[str]:
        """Run `dvc repro` and tell which stages ran, but for those that run every time."""
        out = self.run("dvc", "repro", *targets).stdout
        ran = [name for name in STAGES if f"Running stage '{name}'" in out]
        return [name for name in ran if name not in ALWAYS_RUN]

    def status(self, *targets: str) -> dict[str, Any]:
        """What `dvc status` says has changed, but for the stages that run every time."""
        status = json.loads(self.run("dvc", "status", "--json", *targets).stdout)
        return {name: what for name, what in status.items() if name not in ALWAYS_RUN}

    def override(self, overrides: str) -> None:
        (self.path / "params.yaml").write_text(
            f"experiment: smoke\noverrides: {json.dumps(overrides)}\n"
        )
