"""The figures, as Vega-Lite charts of tables. A figure computes no statistic.

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
