"""The charts of the page: what each shows, its height, and the finding it is captioned with."""

from functools import partial
from typing import Any

from pipeline.analysis.charts.marks import curve_figure, interval_figure
from pipeline.analysis.decoders.charts import (
    cluster_of,
    decoder_cosine_figure,
    latent_figure,
    relative_norm_figure,
)
from pipeline.analysis.verdicts.chart import scaling_figure, scaling_points
from pipeline.config.analysis import ReportConfig
from pipeline.report.chart import Chart
from pipeline.report.format import number, percent
from pipeline.report.results import Findings, Row, Table, thinned
from pipeline.report.rows import GROUP_NAMES, MODEL_NAMES
from pipeline.report.sections.causal import causal_chart
from pipeline.report.sections.organism import organism_chart
from pipeline.report.sections.recovery import recovery_chart
from pipeline.report.sections.seeds import seeds_chart
from pipeline.report.shares import chat_share

N_SHOWN_LATENTS = 2_000
"""Dots in the scatter of latents besides the exclusive ones, which are all among them."""


def page_charts(findings: Findings, config: ReportConfig) -> dict[str, Chart]:
    """Chart name -> chart, of everything that this run has results for."""
    return {
        "relative_norm": _relative_norm(findings),
        "decoder_cosine": _decoder_cosine(findings),
        "latents": _latents(findings),
        "scaling": _scaling(findings),
        "fve": _fve(findings),
        **({"recovered": _recovered(findings)} if findings.has_models else {}),
        **_optional(findings),
        **_training(thinned(findings.training, config.n_curve_points)),
    }


def _relative_norm(findings: Findings) -> Chart:
    table, norm = findings.relative_norm_bins, findings.relative_norm
    shared, live = norm["reference"]["shared"], norm["n_live"]
    return Chart(
        f"{shared:,} of {live:,} live latents lie between 0.3 and 0.7: both models use them. "
        "The scale is logarithmic",
        260,
        table,
        relative_norm_figure,
        opens="relative_norm",
    )


def _decoder_cosine(findings: Findings) -> Chart:
    table, cosine = findings.decoder_cosine_bins, findings.decoder_cosine
    return Chart(
        f"{cosine['n_above_0.9']:,} of {cosine['n_shared']:,} shared latents have decoders within "
        "a cosine of 0.9 of each other",
        260,
        table,
        decoder_cosine_figure,
        opens="decoder_cosine",
    )


def _latents(findings: Findings) -> Chart:
    table = shown_latents(findings.latents)
    return Chart(
        "Whose a latent is, and where it fires: each dot is a latent",
        300,
        table,
        latent_figure,
        opens="latent",
    )


def _scaling(findings: Findings) -> Chart:
    table, found = scaling_points(findings.verdicts), findings.scaling
    limits = findings.config["latent_scaling"]
    n = found["it_only"] + found["base_only"]
    return Chart(
        f"{n:,} latents lie surely bottom left, where the other model lacks their direction"
        if n
        else "No latent lies surely bottom left: each direction is present in the other model too, "
        "or the data do not decide",
        340,
        table,
        partial(scaling_figure, limits=(limits["max_nu_error"], limits["max_nu_reconstruction"])),
        opens="latent",
    )


def _fve(findings: Findings) -> Chart:
    table = _empty()
    for group, group_name in GROUP_NAMES.items():
        row = findings.evaluation["reconstruction"][group]
        for series, name in {"base": "base", "it": "IT", "difference": "IT − base"}.items():
            _add(table, group_name, name, row[f"fve_{series}"])
    series = {"base": "base", "IT": "it", "IT − base": "shared"}
    everything = findings.evaluation["reconstruction"]["all"]
    both, difference = (everything[f"fve_{name}"]["value"] for name in ("both", "difference"))
    caption = (
        f"{percent(both, 0)} of the variance explained, "
        f"{percent(difference, 0)} of what differs between the models"
    )
    return _intervals(table, "fraction of variance explained", series, caption)


def _recovered(findings: Findings) -> Chart:
    table = _empty()
    for model, name in MODEL_NAMES.items():
        for group, group_name in GROUP_NAMES.items():
            row = findings.evaluation["splice"][model][group]
            _add(table, group_name, name, row["ce_recovered_zero"])
    series = {"base": "base", "IT": "it"}
    base, it = (
        findings.evaluation["splice"][model]["all"]["ce_recovered_zero"]["value"]
        for model in MODEL_NAMES
    )
    caption = (
        f"Spliced in, {percent(base)} of the base model’s cross entropy is kept and "
        f"{percent(it)} of the IT model’s"
    )
    return _intervals(table, "recovered, against zero ablation", series, caption)


def _intervals(table: Table, title: str, series: dict[str, str], caption: str) -> Chart:
    return Chart(
        caption,
        220,
        table,
        partial(interval_figure, title=title, series=series),
    )


def _empty() -> Table:
    return {"group": [], "series": [], "value": [], "low": [], "high": []}


def _add(table: Table, group: str, series: str, estimate: dict[str, float | None]) -> None:
    if estimate["value"] is not None:
        table["group"].append(group)
        table["series"].append(series)
        for name in ("value", "low", "high"):
            table[name].append(estimate[name])


def _optional(findings: Findings) -> dict[str, Chart]:
    """The charts of results that only some experiments have."""
    made = {
        "causal": causal_chart,
        "recovery": recovery_chart,
        "seeds": seeds_chart,
        "organism": organism_chart,
    }
    return {
        name: made[name](result, findings.drawn[name])
        for name, result in findings.optional.items()
        if name in made and findings.drawn.get(name, {"": []}) != {}
    }


def _training(table: Table) -> dict[str, Chart]:
    """Curves of the training run: loss, sparsity, explained variance, dead latents."""
    both = {"fve_it": "IT", "fve_base": "base"}
    wanted: dict[str, tuple[dict[str, str], str, bool, str]] = {
        "loss": ({"loss": "loss"}, "loss", True, "Training loss"),
        "l0": ({"l0": "L0"}, "latents on per token", False, "Sparsity (L0)"),
        "training_fve": (both, "variance explained", False, "Variance explained"),
        "dead": ({"n_dead": "dead"}, "dead latents", False, "Dead latents"),
        "gradient": ({"gradient_norm": "norm"}, "gradient norm", True, "Norm of the gradient"),
    }
    return {
        name: Chart(
            f"{caption}, {_ends(table[next(iter(columns))])}",
            170,
            {"n_rows": table["n_rows"], **{column: table[column] for column in columns}},
            lambda table, palette, columns=columns, title=title, log=log: curve_figure(
                table, columns, palette, title=title, log=log
            ),
        )
        for name, (columns, title, log, caption) in wanted.items()
        if table.get("n_rows") and all(column in table for column in columns)
    }


def _ends(values: list[Any]) -> str:
    known = [value for value in values if value is not None]
    return f"from {number(known[0])} to {number(known[-1])}" if known else "unknown"


def shown_latents(latents: list[Row]) -> Table:
    """Columns of the scatter: the exclusive latents and an even sample of the other live ones."""
    live = [row for row in latents if row["bin"] != "dead"]
    exclusive = [row for row in live if row["bin"] in ("base_only", "it_only")]
    others = [row for row in live if row["bin"] not in ("base_only", "it_only")]
    step = max(1, -(-len(others) // N_SHOWN_LATENTS))
    rows = exclusive + others[::step]
    kept = ("latent", "relative_norm", "decoder_cosine", "rate_pile", "rate_chat")
    columns: Table = {name: [row[name] for row in rows] for name in kept}
    columns["chat_share"] = [round(chat_share(row), 5) for row in rows]
    columns["cluster"] = [cluster_of(row["relative_norm"]) for row in rows]
    return columns
