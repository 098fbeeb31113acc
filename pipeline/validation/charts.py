"""The frontier, and the validation on planted features, as charts."""

import altair as alt

from pipeline.analysis.charts import Palette, colour, inline_values
from pipeline.columns import Table, rows_of, table_of


def frontier_figure(table: Table, palette: Palette) -> alt.TopLevelMixin:
    """L0 against explained variance, and against the cross entropy that the splice adds in the IT
    model, where it was spliced into one; the best corner is above, and below, on the left."""
    variants = list(dict.fromkeys(table["variant"]))
    roles = [palette.it, palette.base, palette.shared, palette.other]
    x = alt.X(
        "l0:Q",
        title="active latents per row (L0)",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(tickCount=5, format="~r"),
    )
    panels = []
    for column, title in (
        ("fve", "fraction of variance explained"),
        ("delta_ce_it", "cross entropy added in the IT model, nats"),
    ):
        if not any(value is not None for value in table[column]):
            continue
        base = alt.Chart(inline_values(table), width=310, height=260).encode(
            x=x,
            color=colour("variant", variants, roles[: len(variants)]),
            tooltip=[
                alt.Tooltip("variant:N"),
                alt.Tooltip("value:Q", title="sparsity coefficient or k", format=".4~g"),
                alt.Tooltip("l0:Q", format=".4~g"),
                alt.Tooltip(f"{column}:Q", title=title, format=".4~g"),
                alt.Tooltip(f"{column}_low:Q", title="from", format=".4~g"),
                alt.Tooltip(f"{column}_high:Q", title="to", format=".4~g"),
            ],
        )
        y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False))
        span = base.mark_rule().encode(y=f"{column}_low:Q", y2=f"{column}_high:Q")
        line = base.mark_line(strokeWidth=1.5, opacity=0.7).encode(y=y, order="l0:Q")
        panels.append(alt.layer(span, line, base.mark_point(filled=True, size=55).encode(y=y)))
    return alt.hconcat(*panels)


VALIDATION_CRITERIA = {"norm_bins": "norm bins", "nu": "latent scaling ν"}


VALIDATION_MEASURES = {"recall": "recall", "fdr": "false discovery rate"}


def validation_figure(table: Table, palette: Palette) -> alt.TopLevelMixin:
    """Recall and false discovery rate of exclusive verdicts on planted features, by variant and
    frequency, for norm bins and nu. table: columns of `results/validation.csv`."""
    rows = [
        {
            "group": f"{row['variant']}, {row['frequency']}",
            "criterion": VALIDATION_CRITERIA[row["criterion"]],
            "measure": row["measure"],
            **{end: row[end] for end in ("value", "low", "high")},
        }
        for row in rows_of(table)
        if row["class"] == "exclusive"
        and row["frequency"] in ("common", "rare")
        and row["measure"] in VALIDATION_MEASURES
        and row["value"] is not None
    ]
    panels = [
        _panel([row for row in rows if row["measure"] == measure], title, palette)
        for measure, title in VALIDATION_MEASURES.items()
    ]
    return alt.hconcat(*panels)


def _panel(rows: list[dict], title: str, palette: Palette) -> alt.LayerChart | alt.FacetChart:
    names = list(VALIDATION_CRITERIA.values())
    columns = ("group", "criterion", "value", "low", "high")
    values = inline_values(table_of(rows, columns))
    base = alt.Chart(values, width=250, height=260).encode(
        y=alt.Y("group:N", title=None, sort=None, axis=alt.Axis(labelLimit=140)),
        yOffset=alt.YOffset("criterion:N", sort=names),
        color=colour("criterion", names, [palette.base, palette.it]),
        tooltip=[
            "group:N",
            "criterion:N",
            *(alt.Tooltip(f"{end}:Q", format=".1%") for end in ("value", "low", "high")),
        ],
    )
    scale = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(format=".0%", tickCount=5, grid=True)
    span = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=title, scale=scale, axis=axis), x2="high:Q"
    )
    return alt.layer(span, base.mark_point(filled=True, size=60, opacity=1).encode(x="value:Q"))
