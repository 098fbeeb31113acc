"""The figures, as Vega-Lite charts of tables: their look, and marks that several questions draw.

What one question alone draws is in its own `chart.py`. A figure computes no statistic.

Colours come from a Palette: CSS variables on the page, so that a figure follows the reader's light
or dark theme and prints in ink; plain colours in image files.
"""

import json
from dataclasses import dataclass
from typing import Any

import altair as alt

from pipeline.columns import Table, rows_of

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
PNG_SCALE = 2.0


@dataclass(frozen=True)
class Palette:
    """CSS colours by role. base, it, shared, other: the clusters and the two models."""

    ink: str
    muted: str
    grid: str
    paper: str
    base: str
    it: str
    shared: str
    other: str

    @property
    def clusters(self) -> list[str]:
        return [self.base, self.other, self.shared, self.it]


FILE_PALETTE = Palette(
    ink="#1c2330",
    muted="#5b6576",
    grid="#e3e7ee",
    paper="#ffffff",
    base="#c2571a",
    it="#2563c9",
    shared="#5d8a66",
    other="#a3abb8",
)
PAGE_PALETTE = Palette(
    ink="var(--ink)",
    muted="var(--muted)",
    grid="var(--grid)",
    paper="transparent",
    base="var(--base)",
    it="var(--it)",
    shared="var(--shared)",
    other="var(--other)",
)


def spec(chart: alt.TopLevelMixin, palette: Palette, *, width: int | str, height: int) -> dict:
    """Vega-Lite JSON of a chart in the project's look; width may be "container"."""
    plain: dict[str, Any] = json.loads(chart.to_json())
    plain["config"] = _look(palette)
    if "hconcat" not in plain:  # whose parts have their own size
        plain |= {"width": width, "height": height}
        plain["autosize"] = {"type": "fit-x", "contains": "padding"}
    plain["background"] = palette.paper
    return plain


def image_files(name: str, chart: alt.TopLevelMixin, *, height: int = 300) -> dict[str, bytes]:
    """The chart as `<name>.png` and `<name>.svg`."""
    import vl_convert

    plain = spec(chart, FILE_PALETTE, width=720, height=height)
    return {
        f"{name}.png": vl_convert.vegalite_to_png(plain, scale=PNG_SCALE),
        f"{name}.svg": vl_convert.vegalite_to_svg(plain).encode(),
    }


def inline_values(table: Table) -> alt.InlineData:
    return alt.InlineData(values=rows_of(table))


def colour(field: str, domain: list[str], colours: list[str]) -> alt.Color:
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=domain, range=colours),
        legend=alt.Legend(title=None, orient="top", symbolType="square"),
    )


def _look(palette: Palette) -> dict[str, Any]:
    return {
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": palette.muted,
            "titleColor": palette.muted,
            "titleFontWeight": "normal",
            "titleFontSize": 12,
            "labelFontSize": 11,
            "gridColor": palette.grid,
            "domainColor": palette.grid,
            "tickColor": palette.grid,
            "titlePadding": 8,
        },
        "axisX": {"grid": False},
        "legend": {"labelColor": palette.ink, "labelFontSize": 12, "columns": 4},
    }


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
