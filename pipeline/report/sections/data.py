"""The section on what the run was made of: models, artifacts and what made them."""

from pipeline.models.result import PAIR, ModelFigures, PairFigures
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.grid import Grid, Row
from pipeline.report.section import Section, Shown


def show(findings: Findings) -> Shown:
    tables = {"counts": counts(findings)}
    pair = findings.find(PAIR)
    if pair is not None and "loss_change_nats" in pair:
        tables["losses"] = losses(pair)
    return Shown(tables=tables)


SECTION = Section("data", "Data", show)


def losses(pair: PairFigures) -> Grid:
    """Held-out loss of each model by source, in nats per token, before and after its training."""
    models: tuple[tuple[str, ModelFigures], ...] = (("base", pair["base"]), ("IT", pair["it"]))
    rows = []
    for name, figures in models:
        before = figures.get("initial_heldout_loss_nats", {})
        for source, after in figures.get("heldout_loss_nats", {}).items():
            cells = [
                grid.word(source),
                grid.fixed(before.get(source)),
                grid.fixed(after),
            ]
            rows.append(Row(name, cells))
    heads = ["model", "held-out", "before its training", "after"]
    return Grid("Held-out loss of the two models, nats per token", heads, rows)


def counts(findings: Findings) -> Grid:
    """Every count of every artifact's manifest, in the order of the pipeline."""
    rows = [
        Row(artifact, [grid.word(name.removeprefix("n_").replace("_", " ")), grid.number(value)])
        for artifact, manifest in findings.manifests.items()
        for name, value in sorted(manifest.counts.items())
    ]
    return Grid("What each artifact holds", ["artifact", "count", "value"], rows)
