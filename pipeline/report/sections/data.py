"""The section on what the run was made of: models, artifacts and what made them."""

from pipeline.labels import FIRST_POSITIONS, OUTLIERS
from pipeline.models.result import PAIR, ModelFigures, PairFigures
from pipeline.report import format as form
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import MODEL_NAMES
from pipeline.report.section import Section, Shown


def show(findings: Findings) -> Shown:
    tables = {"counts": counts(findings)}
    if outliers := left_out(findings):
        tables["outliers"] = outliers
    pair = findings.find(PAIR)
    if pair is not None and "loss_change_nats" in pair:
        tables["losses"] = losses(pair)
    return Shown(tables=tables)


SECTION = Section("data", "Data", show)
STORES = ("activations", "heldout_activations")
REASONS = {
    "base_only": "beyond the limit in base alone",
    "it_only": "beyond it in IT alone",
    "both": "beyond it in both",
}


def losses(pair: PairFigures) -> Grid:
    """Held-out loss of each model by source, in nats per token, before and after its training."""
    models: tuple[tuple[str, ModelFigures], ...] = (("base", pair["base"]), ("IT", pair["it"]))
    rows = []
    for name, figures in models:
        before = figures.get("initial_heldout_loss_nats", {})
        for source, after in figures.get("heldout_loss_nats", {}).items():
            cells = [grid.word(source), grid.fixed(before.get(source)), grid.fixed(after)]
            rows.append(Row(name, cells))
    heads = ["model", "held-out", "before its training", "after"]
    return Grid("Held-out loss of the two models, nats per token", heads, rows)


def left_out(findings: Findings) -> Grid | None:
    """Rows left out for their norm, in all, by reason, source and position; None where all rows
    were kept."""
    stores = [findings.manifests[name] for name in STORES if name in findings.manifests]
    if not stores or any(OUTLIERS not in store.facts for store in stores):
        return None
    of_stores = [store.counts for store in stores]
    names = {"n_outliers": "all"}
    names |= {f"n_outliers_{reason}": words for reason, words in REASONS.items()}
    names |= {f"n_{source}_outliers": f"source {source}" for source in findings.sources}
    names |= {f"n_outliers_at_{n}": f"position {n}" for n in FIRST_POSITIONS}
    names["n_outliers_later"] = f"position {FIRST_POSITIONS.stop} and later"
    rows = [
        Row(
            words,
            [
                cell
                for counts in of_stores
                for cell in (
                    grid.number(counts[name], 6),
                    grid.percent(counts[name] / (counts["n_outliers"] + counts["n_rows"]), 2),
                )
            ],
        )
        for name, words in names.items()
    ]
    said = stores[0].facts[OUTLIERS]
    limits = ", ".join(
        f"{title} {form.number(said['norm_limit'][name], 4)} "
        f"(median {form.number(said['median_norm'][name], 4)})"
        for name, title in MODEL_NAMES
    )
    caption = (
        f"Rows left out, because their norm in a model exceeds {said['max_norm_ratio']:g} times "
        f"the median over {said['n_sample_rows']:,} training rows: {limits}"
    )
    heads = ["where", "training rows", "share", "held-out rows", "share"]
    return Grid(caption, heads, rows)


def counts(findings: Findings) -> Grid:
    """Every count of every artifact's manifest, in the order of the pipeline."""
    rows = [
        Row(artifact, [grid.word(name.removeprefix("n_").replace("_", " ")), grid.number(value)])
        for artifact, manifest in findings.manifests.items()
        for name, value in sorted(manifest.counts.items())
    ]
    return Grid("What each artifact holds", ["artifact", "count", "value"], rows)
