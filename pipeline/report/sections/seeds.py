"""The section on other seeds."""

from typing import Any

from pipeline.analysis.seeds.chart import seeds_figure
from pipeline.report.chart import Chart
from pipeline.report.format import fixed
from pipeline.report.results import Table
from pipeline.report.rows import Result, Row


def seed_rows(result: Result) -> list[Row]:
    """One row per pair of runs."""
    return [
        {
            "name": " and ".join(map(str, pair["runs"])),
            "mmcs": pair["mmcs"]["all"],
            "chance": pair["mmcs"]["all"]["rotated"],
            "above": pair["matched"]["share_above_0.9"],
            "agreement": pair["verdicts"]["agreement"],
            "kappa": pair["verdicts"]["kappa"],
            **{side: pair["subspaces"][side]["overlap"] for side in ("it_only", "base_only")},
        }
        for pair in result["pairs"]
    ]


def seeds_chart(result: dict[str, Any], table: Table) -> Chart:
    mmcs = result["summary"]["mmcs"]["all"]
    return Chart(
        f"A latent’s nearest counterpart under another seed has a mean cosine of {fixed(mmcs, 2)}",
        60 + 26 * len(table["verdict"]),
        table,
        seeds_figure,
    )
