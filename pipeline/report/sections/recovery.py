"""The section on planted truth."""

from typing import Any

from pipeline.analysis.recovery.chart import recovery_figure
from pipeline.report.chart import Chart
from pipeline.report.format import percent
from pipeline.report.results import Table
from pipeline.report.rows import Result, Row

CRITERION_NAMES = {
    "nu": "latent scaling ν",
    "norm_minder": "norm: r < 1/6 or > 5/6",
    "norm_anthropic": "norm: r < 0.05 or > 0.95",
    "norm_reference": "norm: r < 0.3 or > 0.7",
}


def criterion_rows(result: Result) -> list[Row]:
    """One row per criterion: recall and false discovery rate of its exclusive verdicts."""
    return [
        {
            "name": name,
            **{
                f"{figure}_{frequency}": found[frequency][figure]
                for found in [result["criteria"][criterion]["exclusive"]["exclusive"]]
                for frequency in ("all", "common", "rare")
                for figure in ("recall", "fdr", "n_called")
            },
        }
        for criterion, name in CRITERION_NAMES.items()
    ]


def kind_rows(result: Result) -> list[Row]:
    """One row per planted kind: features, found, and rightly called by nu and by norms."""
    by_nu, by_norm = (result["criteria"][name]["kinds"] for name in ("nu", "norm_minder"))
    return [
        {
            "name": kind.replace("_", " "),
            **{key: of["all"][key] for key in ("n_features", "n_found")},
            "by_nu": of["all"]["recall"],
            "by_norm": by_norm[kind]["all"]["recall"],
        }
        for kind, of in by_nu.items()
    ]


def recovery_chart(result: dict[str, Any], table: Table) -> Chart:
    by_nu, by_norm = (
        result["criteria"][name]["exclusive"]["exclusive"]["all"] for name in ("nu", "norm_minder")
    )
    return Chart(
        f"Of the exclusive features ν recalls {percent(by_nu['recall'], 0)} with "
        f"{percent(by_nu['fdr'], 0)} false, norms {percent(by_norm['recall'], 0)} "
        f"with {percent(by_norm['fdr'], 0)} false",
        240,
        table,
        lambda _table, palette: recovery_figure(result, palette),
    )
