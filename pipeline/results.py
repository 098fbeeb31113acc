"""The files under `results/`: each is read by the type that stands beside the code that writes it.

A file is declared once, as a ResultFile of its name, the stage that writes it and the type of what
it holds. Reading checks the file against the type, so that a result of another version is told
where it differs instead of failing somewhere on the page.
"""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pipeline.errors import ArtifactError, MissingArtifactError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
R = TypeVar("R")

Words = list[str]
Counts = list[int]
Numbers = list[float]
Flags = list[bool]
Maybe = list[float | None]


class Measured(TypedDict):
    """A figure and its interval; all None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


NOT_MEASURED: Measured = {"value": None, "low": None, "high": None}


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A few figures to compare runs by, with six decimals."""
    return {n: round(v, 6) if isinstance(v, float) else v for n, v in figures.items()}


def fields_of(kind: type[T], record: Mapping[str, object]) -> T:
    """Of a record, the fields that the TypedDict `kind` has."""
    return cast(T, {name: record[name] for name in get_type_hints(kind)})


class NotApplicable(TypedDict):
    """What stands in place of a result that this experiment cannot have. applicable: False."""

    applicable: bool
    reason: str


def not_applicable(reason: str) -> NotApplicable:
    """What stands in place of a result, or among the facts of an artifact, that this experiment
    cannot have."""
    return {"applicable": False, "reason": reason}


def applies(result: Mapping[str, Any]) -> bool:
    """Whether a result, or the facts of an artifact, say nothing against their use."""
    return result.get("applicable", True)


def applicable(result: T | NotApplicable) -> T | None:
    """The result, or None where it does not apply."""
    told = cast(Mapping[str, Any], result)
    return None if told.get("applicable") is False else cast(T, result)


def table(columns: Mapping[str, object]) -> dict[str, list[Any]]:
    """A TypedDict of columns as the plain table that charts and CSV take."""
    return cast(dict[str, list[Any]], columns)


def descriptions(columns: type) -> dict[str, str]:
    """Column name -> what it holds, of a TypedDict whose fields are Annotated[type, text]."""
    hints = get_type_hints(columns, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


@dataclass(frozen=True)
class ResultFile(Generic[T]):
    """A file under `results/`. JSON is read as it is; of a CSV or Parquet file, `kind` is a
    TypedDict of columns, and a blank cell is None."""

    name: str
    stage: str
    kind: type[T]

    def read(self, folder: Path) -> T:
        """The file's content. MissingArtifactError names the stage that writes it, ArtifactError
        the first place at which the file is not what this version writes."""
        return self._checked(folder / self.name, self._raw(folder / self.name))

    def read_applicable(self, folder: Path) -> T | None:
        """The same; None where the stage did not run, or says that it does not apply."""
        path = folder / self.name
        if not path.exists() and not self._was_written(folder):
            return None
        raw = self._raw(path)
        return None if applicable(raw) is None else self._checked(path, raw)

    def _was_written(self, folder: Path) -> bool:
        """Whether the stage's manifest lists the file, so that one that is not there was lost."""
        try:
            manifest = json.loads((folder / f"{self.stage}.manifest.json").read_text())
            return self.name in manifest["files"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False

    def frame(self, folder: Path) -> "pd.DataFrame":
        """A Parquet file as a data frame, whose columns are taken as they are."""
        import pandas as pd

        return self._in_words(folder / self.name, pd.read_parquet)

    def _raw(self, path: Path) -> Any:
        return self._in_words(path, READERS[path.suffix][1])

    def _in_words(self, path: Path, read: Callable[[Path], R]) -> R:
        form = READERS[path.suffix][0]
        try:
            return read(path)
        except FileNotFoundError as error:
            raise MissingArtifactError(f"{path} not found: run `dvc repro {self.stage}`") from error
        except ValueError as error:
            raise ArtifactError(
                f"{path} is no {form} ({error}): remove it and run `dvc repro {self.stage}`"
            ) from error

    def _checked(self, path: Path, raw: Any) -> T:
        try:
            return TypeAdapter(self.kind).validate_python(raw)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ArtifactError(
                f"{path}: {place}: {first['msg']}, found {first['input']!r:.60}: the file is of "
                f"another version: run `dvc repro {self.stage}`"
            ) from error


def read_columns(path: Path) -> dict[str, list[str | None]]:
    """A CSV file with a header, as columns of text; blank is None."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns: dict[str, list[str | None]] = {name: [] for name in reader.fieldnames or []}
        for row in reader:
            for name, cells in columns.items():
                cells.append(row[name] or None)
    return columns


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pydict()


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    ".json": ("JSON", lambda path: json.loads(path.read_text())),
    ".csv": ("CSV file", read_columns),
    ".parquet": ("Parquet file", _read_parquet),
}
