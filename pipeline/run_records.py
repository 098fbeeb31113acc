"""When, how and on what machine a stage made what it made: all that differs between equal runs.

Manifests hold none of it, so that equal runs have equal manifests. A record belongs to the bytes of
a manifest, and the first one stays: making the same again (`dvc repro --force`) changes no record,
and so no byte of the page that shows them. Records lie outside the graph and stay on this machine.
"""

import contextlib
import json
import os
import platform
import shlex
import subprocess
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.artifacts import MANIFEST, manifest_digest, write_json
from pipeline.errors import PipelineError
from pipeline.paths import shortened

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("data/.work/runs")
RESULT = ".manifest.json"
CODE = ("pipeline", "stages")
PROCESSORS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Clock:
    """When a run began: in UTC, and on a clock that nobody sets."""

    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    ticks: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        return time.monotonic() - self.ticks


@dataclass(frozen=True)
class RunRecord:
    """The run that first made something.

    command: as it was started, paths shortened; began: in UTC, ISO 8601
    seconds: of the run that finished it; where a stopped run had begun it, that one's are not in it
    code: version and commit of the project; machine: processor, cores, memory, system
    device: on which the stage computed, empty where it computes on none; python: its version
    """

    stage: str
    command: str
    began: str
    seconds: float
    code: str
    machine: str
    device: str
    python: str


def keep(
    stage: str, typed: Sequence[str], clock: Clock, written: Iterable[Path], device: str | None
) -> None:
    """Record a run that wrote something, once for the bytes of each manifest among what it wrote.
    A disk that takes no record fails no stage."""
    digests = {manifest_digest(path) for path in written if _has_manifest(path)}
    known = _known(stage)
    if not digests - known.keys():
        return
    record = RunRecord(
        stage=stage,
        command=shlex.join(["python", "-m", f"stages.{stage}", *map(shortened, typed)]),
        began=clock.began,
        seconds=round(clock.seconds(), 1),
        code=code(),
        machine=machine(),
        device=_device(device),
        python=platform.python_version(),
    )
    with contextlib.suppress(OSError, PipelineError):
        write_json(_file(stage), dict.fromkeys(digests, asdict(record)) | known)


def find(stage: str, path: Path) -> RunRecord | None:
    """The run of `stage` that first made the artifact, or the manifest file, at `path`; None where
    it was made on another machine."""
    entry = _known(stage).get(manifest_digest(path)) if _has_manifest(path) else None
    with contextlib.suppress(TypeError):  # of another version
        return RunRecord(**entry) if entry else None
    return None


def code() -> str:
    """Version, commit and whether the code differs from it: `0.1.0, commit 1a2b3c4d5e6f`."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    commit = _git("rev-parse", "--short=12", "HEAD")
    edited = " with edits" if commit and _git("status", "--porcelain", "--", *CODE) else ""
    return f"{version}, commit {commit}{edited}" if commit else str(version)


def machine() -> str:
    """`AMD EPYC 7763, 2 cores, 16 GiB, Linux x86_64`."""
    names = PROCESSORS.read_text().splitlines() if PROCESSORS.exists() else []
    models = [line.split(":", 1)[1].strip() for line in names if line.startswith("model name")]
    n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    parts = [
        *(models[:1] or [platform.processor()]),
        f"{os.cpu_count()} cores",
        f"{n_bytes / 2**30:.0f} GiB",
        f"{platform.system()} {platform.machine()}",
    ]
    return ", ".join(part for part in parts if part)


def _device(name: str | None) -> str:
    """What a stage computed on, which loads torch; the stage that asks has loaded it."""
    if name is None:
        return ""
    from pipeline.runtime import describe_device

    return describe_device(name).removeprefix("computing on ").split("; ")[0]


def _git(*words: str) -> str:
    """What git says of the project's folder; nothing where there is no git, or no repository."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["git", "-C", ROOT, *words], capture_output=True, text=True, check=False, timeout=10
        )
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def _has_manifest(path: Path) -> bool:
    return path.is_file() if path.name.endswith(RESULT) else (path / MANIFEST).is_file()


def _known(stage: str) -> dict[str, dict[str, Any]]:
    """Digest of a manifest -> the record of the run that first made it."""
    try:
        found = json.loads(_file(stage).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _file(stage: str) -> Path:
    return FOLDER / f"{stage}.json"
