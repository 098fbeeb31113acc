"""The charts of the page: what each shows, its height, and the finding it is captioned with."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.analysis import figures, overview, proof_figures, tables
from pipeline.analysis.causal_figure import causal_figure
from pipeline.analysis.figures import Palette
from pipeline.analysis.findings import Findings, Row, Table, thinned
from pipeline.analysis.recovery_figure import recovery_figure
from pipeline.analysis.scatter import scaling_points
from pipeline.config.analysis import ReportConfig

N_SHOWN_LATENTS = 2_000
"""Dots in the scatter of latents besides the exclusive ones, which are all among them."""


@dataclass(frozen=True)
class Chart:
    """draw: table, palette -> the chart; table: the data it shows; caption: what to see in it.

    opens: what a click does: "" nothing, "latent" opens it, else the column of the browser that
    the bar's range filters
    """

    caption: str
    height: int
    table: Table
    draw: Callable[[Table, Palette], Any]
    opens: str = ""

    def spec(self) -> dict[str, Any]:
        """Vega-Lite for the page."""
        palette = figures.PAGE_PALETTE
        return figures.spec(
            self.draw(self.table, palette), palette, width="container", height=self.height
        )

    def files(self, name: str) -> dict[str, bytes]:
        """The chart as `<name>.png` and its data as `<name>.csv`."""
        drawn = self.draw(self.table, figures.FILE_PALETTE)
        image = figures.image_files(name, drawn, height=self.height)
        return {f"{name}.png": image[f"{name}.png"], f"{name}.csv": csv_bytes(self.table)}


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


def csv_bytes(table: Table) -> bytes:
    """The table as CSV with a header line; what is not known is blank."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue().encode()


def _relative_norm(findings: Findings) -> Chart:
    table, norm = findings.relative_norm_bins, findings.relative_norm
    shared, live = norm["reference"]["shared"], norm["n_live"]
    return Chart(
        f"{shared:,} of {live:,} live latents lie between 0.3 and 0.7: both models use them. "
        "The scale is logarithmic",
        260,
        table,
        figures.relative_norm_figure,
        opens="relative_norm",
    )


def _decoder_cosine(findings: Findings) -> Chart:
    table, cosine = findings.decoder_cosine_bins, findings.decoder_cosine
    return Chart(
        f"{cosine['n_above_0.9']:,} of {cosine['n_shared']:,} shared latents have decoders within "
        "a cosine of 0.9 of each other",
        260,
        table,
        figures.decoder_cosine_figure,
        opens="decoder_cosine",
    )


def _latents(findings: Findings) -> Chart:
    table = shown_latents(findings.latents)
    return Chart(
        "Whose a latent is, and where it fires: each dot is a latent",
        300,
        table,
        figures.latent_figure,
        opens="latent",
    )


def _scaling(findings: Findings) -> Chart:
    table, found = scaling_points(findings.verdicts), findings.scaling
    n = found["it_only"] + found["base_only"]
    return Chart(
        f"{n:,} latents lie surely bottom left, where the other model lacks their direction"
        if n
        else "No latent lies surely bottom left: each direction is present in the other model too, "
        "or the data do not decide",
        340,
        table,
        figures.scaling_figure,
        opens="latent",
    )


def _fve(findings: Findings) -> Chart:
    table = _empty()
    for group, group_name in tables.GROUP_NAMES.items():
        row = findings.evaluation["reconstruction"][group]
        for series, name in {"base": "base", "it": "IT", "difference": "IT − base"}.items():
            _add(table, group_name, name, row[f"fve_{series}"])
    series = {"base": "base", "IT": "it", "IT − base": "shared"}
    everything = findings.evaluation["reconstruction"]["all"]
    both, difference = (everything[f"fve_{name}"]["value"] for name in ("both", "difference"))
    caption = (
        f"{tables.percent(both, 0)} of the variance explained, "
        f"{tables.percent(difference, 0)} of what differs between the models"
    )
    return _intervals(table, "fraction of variance explained", series, caption)


def _recovered(findings: Findings) -> Chart:
    table = _empty()
    for model, name in tables.MODEL_NAMES.items():
        for group, group_name in tables.GROUP_NAMES.items():
            row = findings.evaluation["splice"][model][group]
            _add(table, group_name, name, row["ce_recovered_zero"])
    series = {"base": "base", "IT": "it"}
    base, it = (
        findings.evaluation["splice"][model]["all"]["ce_recovered_zero"]["value"]
        for model in tables.MODEL_NAMES
    )
    caption = (
        f"Spliced in, {tables.percent(base)} of the base model’s cross entropy is kept and "
        f"{tables.percent(it)} of the IT model’s"
    )
    return _intervals(table, "recovered, against zero ablation", series, caption)


def _intervals(table: Table, title: str, series: dict[str, str], caption: str) -> Chart:
    return Chart(
        caption,
        220,
        table,
        partial(figures.interval_figure, title=title, series=series),
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
    made = {"causal": _causal, "recovery": _recovery, "seeds": _seeds, "organism": _organism}
    return {
        name: made[name](result, findings.drawn[name])
        for name, result in findings.optional.items()
        if name in made and findings.drawn.get(name, {"": []}) != {}
    }


def _causal(result: dict[str, Any], table: Table) -> Chart:
    names = {"all": "All latents remove", "nu_low": "the half with the lowest ν"}
    names |= {"random_nu_low": "random ones that fire as often"}
    shares = {
        patch: result["patches"][patch]["tokens"]["first"]["removed"]["value"]
        for patch in names
        if patch in result["patches"]
    }
    return Chart(
        ", ".join(f"{names[patch]} {tables.percent(share, 0)}" for patch, share in shares.items())
        + " of the KL between base and IT on the first tokens of a response",
        80 + 24 * len(result["patches"]),
        table,
        causal_figure,
    )


def _recovery(result: dict[str, Any], table: Table) -> Chart:
    by_nu, by_norm = (
        result["criteria"][name]["exclusive"]["exclusive"]["all"] for name in ("nu", "norm_minder")
    )
    return Chart(
        f"Of the exclusive features ν recalls {tables.percent(by_nu['recall'], 0)} with "
        f"{tables.percent(by_nu['fdr'], 0)} false, norms {tables.percent(by_norm['recall'], 0)} "
        f"with {tables.percent(by_norm['fdr'], 0)} false",
        240,
        table,
        lambda _table, palette: recovery_figure(result, palette),
    )


def _seeds(result: dict[str, Any], table: Table) -> Chart:
    mmcs = result["summary"]["mmcs"]["all"]
    return Chart(
        f"A latent’s nearest counterpart under another seed has a mean cosine of "
        f"{tables.fixed(mmcs, 2)}",
        60 + 26 * len(table["verdict"]),
        table,
        proof_figures.seeds_figure,
    )


def _organism(result: dict[str, Any], table: Table) -> Chart:
    found = result["ablation"]["selective"].get("effect_removed")
    removed = found["onset"]["value"] if found else None
    return Chart(
        f"Without the most selective latents {tables.percent(removed, 0)} of the trigger’s effect "
        "on the reply’s first token is gone",
        260,
        table,
        proof_figures.organism_figure,
    )


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
            lambda table, palette, columns=columns, title=title, log=log: figures.curve_figure(
                table, columns, palette, title=title, log=log
            ),
        )
        for name, (columns, title, log, caption) in wanted.items()
        if table.get("n_rows") and all(column in table for column in columns)
    }


def _ends(values: list[Any]) -> str:
    known = [value for value in values if value is not None]
    return f"from {tables.number(known[0])} to {tables.number(known[-1])}" if known else "unknown"


def shown_latents(latents: list[Row]) -> Table:
    """Columns of the scatter: the exclusive latents and an even sample of the other live ones."""
    live = [row for row in latents if row["bin"] != "dead"]
    exclusive = [row for row in live if row["bin"] in ("base_only", "it_only")]
    others = [row for row in live if row["bin"] not in ("base_only", "it_only")]
    step = max(1, -(-len(others) // N_SHOWN_LATENTS))
    rows = exclusive + others[::step]
    kept = ("latent", "relative_norm", "decoder_cosine", "rate_pile", "rate_chat")
    columns: Table = {name: [row[name] for row in rows] for name in kept}
    columns["chat_share"] = [round(overview.chat_share(row), 5) for row in rows]
    columns["cluster"] = [figures.cluster_of(row["relative_norm"]) for row in rows]
    return columns
