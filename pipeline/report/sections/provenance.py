"""The section on where the page comes from: models, artifacts, and the runs that made them."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.artifacts import Manifest
from pipeline.models.records import ModelRecord
from pipeline.paths import shortened
from pipeline.progress import format_seconds
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import MODEL_NAMES
from pipeline.report.section import Section, Shown
from pipeline.run_records import RunRecord

WEIGHTS = (".safetensors", ".bin")
N_DIGITS = 16
"""Hexadecimal digits of a digest that are shown."""


def show(findings: Findings) -> Shown:
    tables = {"artifacts": artifacts(findings)}
    if findings.models:
        tables["models"] = models(findings)
    made = findings.runs
    if made:
        tables["runs"] = runs(made)
    return Shown(tables=tables, facts={"said": said(findings)})


SECTION = Section("provenance", "Provenance", show)


def said(findings: Findings) -> list[tuple[str, str]]:
    """What all runs have in common, or each that differs, as (what it is, what it was)."""
    made, packages = findings.runs, findings.manifests["tokens"].packages
    found = [("experiment", findings.config.experiment)]
    if made:
        last = max(run.began for run in made)
        found += [
            ("run", f"{clock(made[0].began)} to {clock(last)} UTC, the starts of its stages"),
            ("work", format_seconds(sum(run.seconds for run in made))),
            ("version", each(run.code for run in made)),
            ("machine", each(run.machine for run in made)),
            ("computed on", each(run.device for run in made)),
            ("Python", each(run.python for run in made)),
        ]
    known = ", ".join(f"{name} {version}" for name, version in packages.items())
    return [*found, ("packages", known)] if known else found


def each(values: Iterable[str]) -> str:
    """The values, each once, in the order in which they appear."""
    return "; ".join(value for value in dict.fromkeys(values) if value)


def runs(made: Sequence[RunRecord]) -> Grid:
    rows = [
        Row(
            run.stage,
            [
                grid.word(clock(run.began)),
                grid.word(format_seconds(run.seconds)),
                grid.tokens([run.command]),
            ],
        )
        for run in made
    ]
    return Grid("The runs", ["stage", "began (UTC)", "took", "command"], rows)


def models(findings: Findings) -> Grid:
    rows = [
        Row(
            f"{title}: {file}",
            [
                grid.word(place(record)),
                grid.word(record.architecture),
                grid.number(entry["bytes"]),
                grid.tokens([entry["sha256"][:N_DIGITS]]),
            ],
        )
        for name, title in MODEL_NAMES
        for record in [findings.models[name]]
        for file, entry in weights(record).items()
    ]
    heads = ["weights", "from", "architecture", "bytes", "sha256"]
    return Grid("The two models", heads, rows)


def weights(record: ModelRecord) -> dict[str, dict[str, Any]]:
    """The weight files of a model, an adapter's included."""
    files = record.files | (record.adapter.files if record.adapter else {})
    return {name: entry for name, entry in files.items() if name.endswith(WEIGHTS)}


def place(record: ModelRecord) -> str:
    """Where a model was found: `google/gemma-2-2b at 1a2b3c4d5e6f`, a folder, or made here."""
    if record.kind == "here":
        return "made here"
    revision = f" at {record.revision[:12]}" if record.revision else ""
    return shortened(record.location) + revision


def artifacts(findings: Findings) -> Grid:
    rows = [
        Row(name, [grid.number(size(manifest)), grid.tokens([digest(manifest)])])
        for name, manifest in findings.manifests.items()
    ]
    heads = ["artifact", "bytes", "sha256 of its manifest, which holds those of its files"]
    return Grid("The artifacts", heads, rows)


def size(manifest: Manifest) -> int:
    return sum(entry["bytes"] for entry in manifest.files.values())


def digest(manifest: Manifest) -> str:
    return hashlib.sha256(manifest.to_json()).hexdigest()[:N_DIGITS]


def clock(began: str) -> str:
    """`2026-11-28 23:05` of an ISO time."""
    return began[:16].replace("T", " ")
