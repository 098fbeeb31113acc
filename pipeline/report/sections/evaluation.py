"""The section on the evaluation: reconstruction, splicing, and the published runs beside them."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from pipeline.analysis.charts import interval_figure
from pipeline.analysis.decoders.result import RELATIVE_NORM
from pipeline.analysis.evaluation.result import (
    EVALUATION,
    Evaluation,
    PublishedRun,
    Spliced,
    SpliceTable,
)
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import percent, share
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import MODEL_NAMES, group_names
from pipeline.report.section import Chart, Section, Shown, Table
from pipeline.results import Measured, applicable

Groups = Mapping[str, str]
"""Group of tokens -> what the page calls it."""

RECONSTRUCTION: Final = (
    ("l0", "L0", 1),
    ("fve_base", "FVE base", 3),
    ("fve_it", "FVE IT", 3),
    ("fve_difference", "FVE of the difference", 3),
    ("difference_share", "size of the difference", 4),
    ("reference_ev_both", "per-token EV", 3),
)
SPLICED: Final = (
    ("ce_clean", "CE clean"),
    ("ce_spliced", "CE spliced"),
    ("ce_zero", "CE zero-ablated"),
    ("ce_mean", "CE mean-ablated"),
    ("delta_ce_spliced", "ΔCE spliced"),
    ("ce_recovered_zero", "recovered (zero)"),
    ("ce_recovered_mean", "recovered (mean)"),
    ("kl_spliced", "KL spliced"),
)
EXPLAINED: Final = (
    ("fve_base", "base", "base"),
    ("fve_it", "IT", "it"),
    ("fve_difference", "IT − base", "shared"),
)
"""Explained variance -> its name and the role of its colour in the chart."""


def show(findings: Findings) -> Shown:
    result = findings.read(EVALUATION)
    splice = applicable(result["splice"]) or {}
    groups = group_names(findings.sources)
    charts = {"fve": explained(result, groups)}
    tables = {"reconstruction": reconstruction(result, groups), "published": published(findings)}
    if splice:
        charts["recovered"] = recovered(splice, groups)
        for model, name in MODEL_NAMES:
            tables[f"spliced_{model}"] = spliced(result, splice[model], name, groups)
    return Shown(charts, tables, {"evaluation": result})


SECTION = Section("evaluation", "Evaluation", show)


def reconstruction(result: Evaluation, groups: Groups) -> Grid:
    rows = []
    for group, name in groups.items():
        row = result["reconstruction"][group]
        cells = [grid.measured(row[key], digits) for key, _, digits in RECONSTRUCTION]
        rows.append(Row(name, [grid.number(row["n_tokens"]), *cells]))
    return Grid(
        f"Reconstruction of {result['window_tokens']:,} held-out tokens",
        ["tokens", "number", *(title for _, title, _ in RECONSTRUCTION)],
        rows,
    )


def spliced(
    result: Evaluation, of_groups: Mapping[str, Spliced], name: str, groups: Groups
) -> Grid:
    rows = [
        Row(group_name, [grid.measured(of_groups[group][key]) for key, _ in SPLICED])
        for group, group_name in groups.items()
    ]
    return Grid(
        f"Spliced into the {name} model, nats per predicted token, "
        f"{result['n_sequences_spliced']} sequences",
        ["predicted tokens", *(title for _, title in SPLICED)],
        rows,
    )


def published(findings: Findings) -> Grid:
    """Ours first, then the published runs; counts of exclusive latents are by decoder norm."""
    result, by_norm = findings.read(EVALUATION), findings.read(RELATIVE_NORM)["minder"]
    everything = result["reconstruction"]["all"]
    ours: PublishedRun = {
        "name": "this run",
        "n_latents": result["n_latents"],
        "l0": everything["l0"]["value"],
        "fve": everything["fve_both"]["value"],
        "explained_variance_per_token": everything["reference_ev_both"]["value"],
        "it_only": by_norm["it_only"],
        "base_only": by_norm["base_only"],
    }
    rows = [
        Row(
            run["name"],
            [
                grid.number(run["n_latents"]),
                grid.number(run.get("l0")),
                grid.percent(run.get("fve")),
                grid.percent(run.get("explained_variance_per_token")),
                grid.number(run["it_only"]),
                grid.number(run["base_only"]),
            ],
            "ours" if run is ours else "",
        )
        for run in (ours, *result["published"]["rows"])
    ]
    return Grid(
        "Beside the published results for Gemma-2-2B; exclusive latents counted by decoder norm",
        [
            *("run", "latents", "L0", "FVE", "per-token EV"),
            *("IT-only by norm", "base-only by norm"),
        ],
        rows,
    )


def explained(result: Evaluation, groups: Groups) -> Chart:
    points = [
        (name, title, result["reconstruction"][group][key])
        for group, name in groups.items()
        for key, title, _ in EXPLAINED
    ]
    everything = result["reconstruction"]["all"]
    caption = (
        f"{share(everything['fve_both']['value'])} of the variance explained, "
        f"{share(everything['fve_difference']['value'])} of what differs between the models"
    )
    roles = {title: role for _, title, role in EXPLAINED}
    return intervals(points, "fraction of variance explained", roles, caption)


def recovered(splice: SpliceTable, groups: Groups) -> Chart:
    points = [
        (group_name, name, splice[model][group]["ce_recovered_zero"])
        for model, name in MODEL_NAMES
        for group, group_name in groups.items()
    ]
    base, it = (splice[model]["all"]["ce_recovered_zero"]["value"] for model, _ in MODEL_NAMES)
    caption = (
        f"Spliced in, {percent(base)} of the base model’s cross entropy is kept and "
        f"{percent(it)} of the IT model’s"
    )
    roles = {name: model for model, name in MODEL_NAMES}
    return intervals(points, "recovered, against zero ablation", roles, caption)


def intervals(
    points: Iterable[tuple[str, str, Measured]], title: str, roles: dict[str, str], caption: str
) -> Chart:
    """A chart of (group, series, figure); figures that are not defined are left out."""
    known = [
        (group, series, found) for group, series, found in points if found["value"] is not None
    ]
    table: Table = {
        "group": [group for group, _, _ in known],
        "series": [series for _, series, _ in known],
        "value": [found["value"] for _, _, found in known],
        "low": [found["low"] for _, _, found in known],
        "high": [found["high"] for _, _, found in known],
    }
    return Chart(caption, 220, table, partial(interval_figure, title=title, series=roles))
