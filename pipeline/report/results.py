"""Everything the page is made of: the result files and the manifests, read and checked."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import Manifest
from pipeline.errors import ArtifactError, MissingArtifactError

Table = dict[str, list[Any]]
"""Column name -> values."""
Row = dict[str, Any]
OPTIONAL = ("causal", "baselines", "recovery", "seeds", "organism")
"""Results that some experiments have and others do not."""


@dataclass(frozen=True)
class Findings:
    """The results of one run. Tables are columns, except `latents`, one dict per latent.

    optional: of OPTIONAL, the results that are there and apply to this experiment
    drawn: the tables that their figures are drawn from
    """

    config: dict[str, Any]
    manifests: dict[str, Manifest]
    models: dict[str, Any]
    training: Table
    relative_norm: dict[str, Any]
    relative_norm_bins: Table
    decoder_cosine: dict[str, Any]
    decoder_cosine_bins: Table
    evaluation: dict[str, Any]
    latents: list[Row]
    scaling: dict[str, Any]
    verdicts: Table
    optional: dict[str, dict[str, Any]]
    drawn: dict[str, Table]

    @property
    def has_models(self) -> bool:
        """Whether rows came from models, into which the crosscoder could be spliced."""
        return self.evaluation["splice"].get("applicable", True)


def read_findings(
    results: Path, manifests: dict[str, Manifest], config: dict[str, Any]
) -> Findings:
    """Read `results/`. MissingArtifactError names the first file that is not there."""
    optional = read_optional(results)
    return Findings(
        config=config,
        manifests=manifests,
        models=read_json(results / "models.json", "models"),
        training=read_csv(results / "training.csv", "train"),
        relative_norm=read_json(results / "relative_norm.json", "relative_norm"),
        relative_norm_bins=read_csv(results / "relative_norm.csv", "relative_norm"),
        decoder_cosine=read_json(results / "decoder_cosine.json", "decoder_cosine"),
        decoder_cosine_bins=read_csv(results / "decoder_cosine.csv", "decoder_cosine"),
        evaluation=read_json(results / "evaluation.json", "evaluate"),
        latents=rows_of(read_csv(results / "latents.csv", "evaluate")),
        scaling=read_json(results / "latent_scaling.json", "latent_scaling"),
        verdicts=read_parquet(results / "latents.parquet", "latent_scaling"),
        optional=optional,
        drawn={
            name: read_csv(results / f"{name}.csv", name)
            for name in optional
            if (results / f"{name}.csv").exists()
        },
    )


def read_optional(results: Path) -> dict[str, dict[str, Any]]:
    """Name of OPTIONAL -> its JSON, where it is there and says nothing against its use."""
    found = {
        name: read_json(results / f"{name}.json", name)
        for name in OPTIONAL
        if (results / f"{name}.json").exists()
    }
    return {name: result for name, result in found.items() if result.get("applicable", True)}


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """A JSON object. Errors name the file and the stage that writes it."""
    try:
        return json.loads(_text(path, stage))
    except ValueError as error:
        raise ArtifactError(
            f"{path} is no JSON ({error}): remove it and run `dvc repro {stage}`"
        ) from error


def read_csv(path: Path, stage: str) -> Table:
    """A CSV file with a header, as columns of numbers where they are numbers; blank is None."""
    reader = csv.DictReader(_text(path, stage).splitlines())
    columns: Table = {name: [] for name in reader.fieldnames or []}
    for row in reader:
        for name in columns:
            columns[name].append(_parse(row[name]))
    return columns


def read_parquet(path: Path, stage: str) -> Table:
    """A Parquet file as columns; what is not a number is None."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pydict()
    except FileNotFoundError as error:
        raise MissingArtifactError(f"{path} not found: run `dvc repro {stage}`") from error
    except pa.ArrowInvalid as error:
        raise ArtifactError(
            f"{path} is no Parquet file ({error}): remove it and run `dvc repro {stage}`"
        ) from error


def rows_of(table: Table) -> list[Row]:
    """One dict per row."""
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def thinned(table: Table, n_points: int) -> Table:
    """At most about `n_points` rows, evenly spaced, the last one always among them."""
    n = len(next(iter(table.values()), []))
    step = max(1, -(-n // n_points))
    kept = sorted({*range(0, n, step), n - 1}) if n else []
    return {name: [values[i] for i in kept] for name, values in table.items()}


def _text(path: Path, stage: str) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise MissingArtifactError(f"{path} not found: run `dvc repro {stage}`") from error


def _parse(text: str | None) -> Any:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
