"""What a page is made of: the results of one run, its configuration and its manifests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from pipeline.analysis.evaluation.result import EVALUATION
from pipeline.artifacts import Manifest
from pipeline.config import Config
from pipeline.results import ResultFile, applicable

T = TypeVar("T")


@dataclass(frozen=True)
class Excerpt:
    """A latent's strongest example, and the tokens that its IT decoder promotes."""

    before: str
    token: str
    after: str
    promotes: list[str]


@dataclass(frozen=True)
class Findings:
    """The results of one run; each file is read and checked when a section first asks for it.

    excerpts: of the latents that have a dashboard with an example
    """

    folder: Path
    config: Config
    manifests: Mapping[str, Manifest]
    excerpts: Mapping[int, Excerpt] = field(default_factory=dict)
    _files: dict[str, Any] = field(default_factory=dict)

    def read(self, file: ResultFile[T]) -> T:
        """A result that every run has. Raises MissingArtifactError where it is not there."""
        if file.name not in self._files:
            self._files[file.name] = file.read(self.folder)
        return cast(T, self._files[file.name])

    def find(self, file: ResultFile[T]) -> T | None:
        """A result that some runs have; None where there is none or it does not apply."""
        if file.name not in self._files:
            self._files[file.name] = file.read_applicable(self.folder)
        return cast(T | None, self._files[file.name])

    @property
    def has_models(self) -> bool:
        """Whether rows came from models, into which the crosscoder could be spliced."""
        return applicable(self.read(EVALUATION)["splice"]) is not None
