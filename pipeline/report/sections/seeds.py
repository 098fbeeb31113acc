"""The section on other seeds: whether they give the same latents and the same verdicts."""

from pipeline.analysis.seeds.chart import seeds_figure
from pipeline.analysis.seeds.result import SEED_COLUMNS, SEEDS, Seeds
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, percent
from pipeline.report.grid import Grid, Row
from pipeline.report.section import Chart, Section, Shown
from pipeline.results import table


def show(findings: Findings) -> Shown | None:
    result = findings.find(SEEDS)
    if result is None:
        return None
    columns = findings.read(SEED_COLUMNS)
    chart = Chart(
        "A latent’s nearest counterpart under another seed has a mean cosine of "
        f"{fixed(result['summary']['mmcs']['all'], 2)}",
        60 + 26 * len(columns["verdict"]),
        table(columns),
        seeds_figure,
    )
    return Shown({"seeds": chart}, {"pairs": pairs(result)}, {"n_runs": result["n_runs"]})


SECTION = Section("seeds", "Seeds", show)


def pairs(result: Seeds) -> Grid:
    """One row per pair of runs."""
    rows = []
    for pair in result["pairs"]:
        mmcs, verdicts = pair["mmcs"]["all"], pair["verdicts"]
        cells = [
            grid.measured(mmcs),
            grid.fixed(mmcs["rotated"]),
            grid.percent(pair["matched"]["share_above_0.9"], 0),
            grid.measured(verdicts["agreement"]),
            grid.measured(verdicts["kappa"], 2),
            grid.fixed(pair["subspaces"]["it_only"]["overlap"], 2),
            grid.fixed(pair["subspaces"]["base_only"]["overlap"], 2),
        ]
        rows.append(Row(" and ".join(map(str, pair["runs"])), cells))
    return Grid(
        f"Pairs of runs, {percent(result['confidence'], 0)} intervals",
        [
            *("runs", "MMCS", "by chance", "matched above 0.9", "verdicts agree", "κ"),
            *("overlap of IT-only spans", "of base-only spans"),
        ],
        rows,
    )
