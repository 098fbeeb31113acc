"""Two kinds of chart that several questions draw: curves, and points with intervals."""

import altair as alt

from pipeline.analysis.charts.look import Palette, Table, colour, inline_values


def curve_figure(
    table: Table, columns: dict[str, str], palette: Palette, *, title: str, log: bool = False
) -> alt.Chart:
    """Lines over the rows trained on. columns: column of `table` -> name in the legend."""
    long: Table = {"n_rows": [], "series": [], "value": []}
    for column, name in columns.items():
        for n_rows, value in zip(table["n_rows"], table[column], strict=True):
            if value is not None and (value > 0 or not log):
                long["n_rows"].append(n_rows)
                long["series"].append(name)
                long["value"].append(value)
    names = list(columns.values())
    colours = [palette.it, palette.base, palette.shared, palette.other][: len(names)]
    legend = None if len(names) == 1 else alt.Legend(title=None, orient="top")
    return (
        alt.Chart(inline_values(long))
        .mark_line(strokeWidth=1.8, interpolate="monotone")
        .encode(
            x=alt.X("n_rows:Q", title="rows trained on", axis=alt.Axis(format="~s", tickCount=5)),
            y=alt.Y(
                "value:Q",
                title=title,
                scale=alt.Scale(type="log", nice=True) if log else alt.Scale(zero=False, nice=True),
                axis=alt.Axis(tickCount=5, format=".3~r"),
            ),
            color=alt.Color(
                "series:N", scale=alt.Scale(domain=names, range=colours), legend=legend
            ),
            tooltip=[
                alt.Tooltip("series:N"),
                alt.Tooltip("n_rows:Q", format=","),
                alt.Tooltip("value:Q", format=".5~g"),
            ],
        )
    )


def interval_figure(
    table: Table, palette: Palette, *, title: str, series: dict[str, str]
) -> alt.TopLevelMixin:
    """Points with intervals. table: group, series, value, low, high; series: name -> role."""
    colours = [getattr(palette, role) for role in series.values()]
    ends = [end for end in [*table["low"], *table["high"]] if end is not None] or [0.0, 1.0]
    margin = max(0.01, 0.08 * (max(ends) - min(ends)))
    domain = [min(ends) - margin, max(ends) + margin]
    base = alt.Chart(inline_values(table)).encode(
        y=alt.Y("group:N", title=None, sort=None, axis=alt.Axis(labelLimit=140)),
        yOffset=alt.YOffset("series:N", sort=list(series)),
        color=colour("series", list(series), colours),
        tooltip=[
            alt.Tooltip("group:N"),
            alt.Tooltip("series:N"),
            alt.Tooltip("value:Q", format=".4~g"),
            alt.Tooltip("low:Q", format=".4~g"),
            alt.Tooltip("high:Q", format=".4~g"),
        ],
    )
    span = base.mark_rule(strokeWidth=2).encode(
        x=alt.X(
            "low:Q",
            title=title,
            scale=alt.Scale(domain=domain, zero=False, nice=False),
            axis=alt.Axis(tickCount=5, grid=True),
        ),
        x2="high:Q",
    )
    return alt.layer(span, base.mark_point(filled=True, size=60, opacity=1).encode(x="value:Q"))
