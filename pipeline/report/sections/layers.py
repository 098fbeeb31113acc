"""The section on other layers: what experiments over the layers of one dump have found."""

from pipeline.analysis.layers.result import LAYERS, LayerFigures, Layers
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import percent
from pipeline.report.grid import Cell, Grid, Row
from pipeline.report.labels import KIND_NAMES
from pipeline.report.section import Section, Shown


def show(findings: Findings) -> Shown | None:
    result = findings.find(LAYERS)
    if result is None or len(result["rows"]) < 2:
        return None
    layer = findings.config.hook_point.layer
    missing = [n for n in result["layers"] if n not in {row["layer"] for row in result["rows"]}]
    tables = {"figures": figures(result, layer), "changes": changes(result, layer)}
    return Shown(tables=tables, facts={"layer": layer, "missing": missing})


SECTION = Section("layers", "Layers", show)


def figures(result: Layers, layer: int) -> Grid:
    """How well each layer's crosscoder explains its rows, and what it calls exclusive."""
    rows = [
        Row(
            name_of(row, layer),
            [
                grid.measured(row["l0"], 1),
                grid.measured(row["fve_base"]),
                grid.measured(row["fve_it"]),
                grid.measured(row["fve_difference"]),
                grid.number(row["base_only"]),
                grid.number(row["it_only"]),
            ],
            "ours" if row["layer"] == layer else "",
        )
        for row in result["rows"]
    ]
    heads = ["layer", "L0", "FVE base", "FVE IT", "FVE of the difference", "base-only", "IT-only"]
    return Grid("The crosscoder of each layer, on held-out rows", heads, rows)


def changes(result: Layers, layer: int) -> Grid:
    """How much of the difference each layer's list accounts for, and its first entry."""
    rows = [
        Row(
            name_of(row, layer),
            [
                grid.number(row["n_listed"]),
                grid.percent(row["share_listed"]),
                grid.word(kinds(row)),
                *first(row),
            ],
            "ours" if row["layer"] == layer else "",
        )
        for row in result["rows"]
    ]
    heads = ["layer", "changes listed", "share of the difference", "of which kinds"]
    heads += ["largest", "its share", "acts most on"]
    return Grid("What fine-tuning changed, as seen at each layer", heads, rows)


def name_of(row: LayerFigures, layer: int) -> str:
    return f"{row['layer']} (this page)" if row["layer"] == layer else str(row["layer"])


def kinds(row: LayerFigures) -> str:
    """`2 new, 1 turned`."""
    found = [f"{n} {KIND_NAMES[kind]}" for kind, n in row["kinds"].items() if n]
    return ", ".join(found) or "none"


def first(row: LayerFigures) -> list[Cell]:
    largest = row["largest"]
    if largest is None:
        return [grid.word("none"), grid.word(""), grid.tokens([])]
    share = largest["share"]
    interval = f"{percent(share['low'])} to {percent(share['high'])}"
    shown = Cell(percent(share["value"]), "" if share["low"] is None else interval)
    return [grid.word(KIND_NAMES[largest["kind"]]), shown, grid.tokens(largest["tokens"])]
