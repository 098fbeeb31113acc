"""Workspaces: folders in which stages run on another configuration, sharing finished artifacts.

Inputs are symbolic links to the artifacts of the main folder, so that nothing is made or kept
twice; what the stages write stays in the workspace. Stages check the links' manifests as always.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import canonical_json, manifest_digest, read_manifest, write_json
from pipeline.config.compose import CONF
from pipeline.errors import PipelineError
from pipeline.interruption import Interrupted, run_child

ROOT = Path(__file__).resolve().parents[1]
DONE = "done.json"


class WorkspaceError(PipelineError, RuntimeError):
    """A stage failed in a workspace."""


class Workspace:
    """The folder `path` with `conf/` as in the current folder, and the artifacts in `linked` (each
    made by the stage named beside it) as in the folder `origin`, the current one by default."""

    def __init__(self, path: Path, linked: Mapping[Path, str], origin: Path | None = None) -> None:
        self.path, self.linked, self.origin = path, linked, origin or Path()

    def is_done(self, stages: Sequence[str], overrides: Sequence[str]) -> bool:
        """Whether these stages have finished here, on these overrides and these inputs.

        Raises MissingArtifactError where an input is not there.
        """
        marker = self.path / DONE
        expected = canonical_json(self._done(stages, overrides), indent=2)
        return marker.exists() and marker.read_bytes() == expected

    def run(self, stages: Sequence[str], overrides: Sequence[str]) -> None:
        """Run the stages here, in a process of their own; nothing where they are done.

        Raises WorkspaceError with its last words. A killed stage goes on where it was.
        """
        if self.is_done(stages, overrides):
            return
        (self.path / DONE).unlink(missing_ok=True)
        self._link(CONF, CONF)
        for artifact in self.linked:
            self._link(artifact, self.origin / artifact)
        self._run(stages, overrides)
        write_json(self.path / DONE, self._done(stages, overrides))

    def _run(self, stages: Sequence[str], overrides: Sequence[str]) -> None:
        names = ",".join(stages)
        modules = [f"stages.{names}"] if len(stages) == 1 else ["stages.chain", names]
        try:
            status, said = run_child(
                [sys.executable, "-m", *modules, *overrides],
                cwd=self.path,
                env={"PYTHONPATH": str(ROOT)},
            )
        except Interrupted as stopped:
            stopped.kept.append(self.path)
            raise
        if status:
            raise WorkspaceError(
                f"stage {names} failed in {self.path} with {' '.join(overrides)}:\n"
                f"{said.strip()[-2000:]}"
            )

    def _link(self, path: Path, target: Path) -> None:
        link = self.path / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() or link.readlink() != target.absolute():
            link.unlink(missing_ok=True)
            link.symlink_to(target.absolute())

    def _done(self, stages: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
        digests = {}
        for artifact, made_by in self.linked.items():
            read_manifest(self.origin / artifact, made_by)
            digests[str(artifact)] = manifest_digest(self.origin / artifact)
        return {"stages": list(stages), "overrides": list(overrides), "inputs": digests}
