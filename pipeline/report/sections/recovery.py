"""The section on planted truth: verdicts against features of known kind."""

from pipeline.analysis.recovery.chart import CRITERION_NAMES, recovery_figure
from pipeline.analysis.recovery.result import RECOVERY, Recovery
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import percent
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import ALL_VERDICT_NAMES, ARTEFACT_NAMES, VERDICT_NAMES
from pipeline.report.section import Chart, Section, Shown

FREQUENCIES = ("all", "common", "rare")
CALLED = (*VERDICT_NAMES, "dead", "not found")


def show(findings: Findings) -> Shown | None:
    result = findings.find(RECOVERY)
    if result is None:
        return None
    chart = Chart(
        caption(result), 240, {}, lambda _table, palette: recovery_figure(result, palette)
    )
    tables = {
        "criteria": criteria(result),
        "verdicts": verdicts(result),
        "confusion": confusion(result),
        "kinds": kinds(result),
    }
    artefacts = [
        (ARTEFACT_NAMES[name], found) for name, found in result["artefacts"].items() if found["n"]
    ]
    return Shown({"recovery": chart}, tables, {"recovery": result, "artefacts": artefacts})


SECTION = Section("recovery", "Planted truth", show)


def criteria(result: Recovery) -> Grid:
    """One row per criterion: recall and false discovery rate of its exclusive verdicts."""
    rows = []
    for criterion, name in reversed(CRITERION_NAMES.items()):
        found = result["criteria"][criterion]["exclusive"]["exclusive"]
        cells = [
            cell
            for rates in (found[frequency] for frequency in FREQUENCIES)
            for cell in (
                grid.number(rates["n_called"]),
                grid.percent(rates["recall"], 0),
                grid.percent(rates["fdr"], 0),
            )
        ]
        rows.append(Row(name, cells, "ours" if criterion == "nu" else ""))
    heads = [f"{what}, {of}" for of in FREQUENCIES for what in ("called", "recall", "false")]
    return Grid("Exclusive verdicts by criterion", ["criterion", *heads], rows)


def verdicts(result: Recovery) -> Grid:
    """One row per verdict that a planted feature asks for or that was given."""
    rows = []
    for verdict, found in result["verdicts"]["kinds"].items():
        rates = found["all"]
        if not (rates["n_features"] or rates["n_called"]):
            continue
        cells = [
            grid.number(rates["n_features"]),
            grid.percent(rates["recall"], 0),
            grid.number(rates["n_called"]),
            grid.percent(rates["fdr"], 0),
        ]
        rows.append(Row(VERDICT_NAMES[verdict], cells))
    heads = ["verdict", "features of the kind", "recall", "latents called so", "false"]
    return Grid("Every verdict against the kinds that were planted", heads, rows)


def confusion(result: Recovery) -> Grid:
    """Planted kinds in rows, what the latents that stand for their features are called in columns:
    numbers of features."""
    found = result["verdicts"]["confusion"]
    named = [verdict for verdict in CALLED if any(verdict in row for row in found.values())]
    rows = [
        Row(VERDICT_NAMES.get(kind, "border"), [grid.number(row.get(name, 0)) for name in named])
        for kind, row in found.items()
    ]
    heads = ["planted", *(ALL_VERDICT_NAMES.get(name, name) for name in named)]
    return Grid("What each kind is called", heads, rows)


def kinds(result: Recovery) -> Grid:
    """One row per planted kind: features, found, and rightly called by nu and by norms."""
    by_norm = result["criteria"]["norm_minder"]["kinds"]
    rows = [
        Row(
            kind.replace("_", " "),
            [
                grid.number(rates["all"]["n_features"]),
                grid.number(rates["all"]["n_found"]),
                grid.percent(rates["all"]["recall"], 0),
                grid.percent(by_norm[kind]["all"]["recall"], 0),
            ],
        )
        for kind, rates in result["criteria"]["nu"]["kinds"].items()
    ]
    heads = ["kind", "planted", "found", "right by ν", "right by norm"]
    return Grid("By kind of feature: found, and called as the truth asks", heads, rows)


def caption(result: Recovery) -> str:
    by_nu, by_norm = (
        result["criteria"][name]["exclusive"]["exclusive"]["all"] for name in ("nu", "norm_minder")
    )
    return (
        f"Of the exclusive features ν recalls {percent(by_nu['recall'], 0)} with "
        f"{percent(by_nu['fdr'], 0)} false, norms {percent(by_norm['recall'], 0)} "
        f"with {percent(by_norm['fdr'], 0)} false"
    )
