"""What a page is made of: the results of one run, its configuration and its manifests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from pipeline.analysis.evaluation.result import EVALUATION
from pipeline.artifacts import Manifest, read_manifest
from pipeline.config import Config
from pipeline.models.records import ModelRecord
from pipeline.results import ResultFile, applicable
from pipeline.run_records import RESULT, RunRecord, find
from pipeline.stage import MADE_BY, check_lineage

T = TypeVar("T")


@dataclass(frozen=True)
class Excerpt:
    """A latent's strongest example, and the tokens that its IT and its base decoder promote."""

    before: str
    token: str
    after: str
    promotes: list[str]
    promotes_in_base: list[str]


@dataclass(frozen=True)
class Findings:
    """The results of one run; each file is read and checked when a section first asks for it.

    excerpts: of the latents that have a dashboard with an example
    runs: what was recorded of the stages' runs, the oldest first
    models: name -> record of a model of the pair; none where rows came from no model
    """

    folder: Path
    config: Config
    manifests: Mapping[str, Manifest]
    excerpts: Mapping[int, Excerpt] = field(default_factory=dict)
    runs: Sequence[RunRecord] = ()
    models: Mapping[str, ModelRecord] = field(default_factory=dict)
    _files: dict[str, Any] = field(default_factory=dict)
    _checked: set[str] = field(default_factory=set)

    def read(self, file: ResultFile[T]) -> T:
        """A result that every run has. Raises MissingArtifactError where it is not there, and
        MismatchError where it was made under another configuration."""
        if file.name not in self._files:
            self._files[file.name] = file.read(self.folder)
            self._check(file.stage)
        return cast(T, self._files[file.name])

    def find(self, file: ResultFile[T]) -> T | None:
        """A result that some runs have; None where there is none or it does not apply."""
        if file.name not in self._files:
            self._files[file.name] = file.read_applicable(self.folder)
            if self._files[file.name] is not None:
                self._check(file.stage)
        return cast(T | None, self._files[file.name])

    def _check(self, stage: str) -> None:
        """Refuse what a stage has made under another configuration than the one in force, or left
        without its manifest, which is written last."""
        if stage in self._checked:
            return
        path = self.folder / f"{stage}.manifest.json"
        check_lineage(path, read_manifest(path, stage), self.config, made_by=stage, reader="report")
        self._checked.add(stage)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources of the mix."""
        return self.config.source_names

    @property
    def has_models(self) -> bool:
        """Whether rows came from models, into which the crosscoder could be spliced."""
        return applicable(self.read(EVALUATION)["splice"]) is not None


NOT_SHOWN = ("report", "frontier", "validation", "edits")
"""Stages of which the page shows no result: itself, and those outside the graph."""


def recorded(results: Path) -> list[RunRecord]:
    """What is known of the runs behind the artifacts and results as they are now, one of a stage,
    the oldest first."""
    made = {path: path.name.removesuffix(RESULT) for path in results.glob(f"*{RESULT}")} | MADE_BY
    found: dict[str, RunRecord] = {}
    for path, stage in sorted(made.items()):
        run = find(stage, path)
        if run and stage not in NOT_SHOWN:
            found.setdefault(stage, run)
    return sorted(found.values(), key=lambda run: (run.began, run.stage))
