"""The figures, as Vega-Lite charts of tables. A figure computes no statistic.

Colours come from a Palette: CSS variables on the page, so that a figure follows the reader's light
or dark theme and prints in ink; plain colours in image files.
"""

import json
from dataclasses import dataclass
from typing import Any

import altair as alt

Table = dict[str, list[Any]]

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
CLUSTERS = ("base-only side", "between", "shared", "IT-only side")
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


def relative_norm_figure(table: Table, palette: Palette) -> alt.TopLevelMixin:
    """Histogram of r over the live latents, on a scale that shows single latents and thousands."""
    clusters = [_cluster(r) for r in table["relative_norm"]]
    bars = (
        alt.Chart(_values({**table, "cluster": clusters}))
        .mark_bar(binSpacing=0)
        .encode(
            x=alt.X(
                "low:Q",
                title="relative decoder norm r  (0 = base only, 1 = IT only)",
                scale=alt.Scale(domain=[0, 1], nice=False),
                bin=alt.BinParams(binned=True),
                axis=alt.Axis(tickCount=10, format=".1f", grid=False),
            ),
            x2="high:Q",
            y=alt.Y("n_live:Q", title="live latents", scale=alt.Scale(type="symlog", constant=1)),
            color=_colour("cluster", list(CLUSTERS), palette.clusters),
            tooltip=[
                alt.Tooltip("low:Q", title="r from", format=".3f"),
                alt.Tooltip("high:Q", title="to", format=".3f"),
                alt.Tooltip("n_live:Q", title="live latents"),
                alt.Tooltip("n_dead:Q", title="dead latents"),
            ],
        )
    )
    marks = {"r": [1 / 6, 5 / 6], "rule": ["Minder base-only", "Minder IT-only"]}
    rules = (
        alt.Chart(_values(marks))
        .mark_rule(color=palette.muted, strokeDash=[3, 3])
        .encode(x="r:Q", tooltip=[alt.Tooltip("rule:N"), alt.Tooltip("r:Q", format=".3f")])
    )
    return alt.layer(bars, rules)


def _cluster(r: float) -> str:
    if r < 0.3:
        return CLUSTERS[0] if r < 1 / 6 else CLUSTERS[1]
    if r > 0.7:
        return CLUSTERS[3] if r > 5 / 6 else CLUSTERS[1]
    return CLUSTERS[2]


def decoder_cosine_figure(table: Table, palette: Palette) -> alt.Chart:
    """Histogram of the cosine between the two decoders of the live shared latents."""
    return (
        alt.Chart(_values(table))
        .mark_bar(binSpacing=0, color=palette.shared)
        .encode(
            x=alt.X(
                "low:Q",
                title="cosine of base and IT decoder",
                scale=alt.Scale(domain=[-1, 1], nice=False),
                bin=alt.BinParams(binned=True),
                axis=alt.Axis(tickCount=10, format=".1f", grid=False),
            ),
            x2="high:Q",
            y=alt.Y(
                "n_shared:Q", title="shared latents", scale=alt.Scale(type="symlog", constant=1)
            ),
            tooltip=[
                alt.Tooltip("low:Q", title="cosine from", format=".3f"),
                alt.Tooltip("high:Q", title="to", format=".3f"),
                alt.Tooltip("n_shared:Q", title="shared latents"),
            ],
        )
    )


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
        alt.Chart(_values(long))
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
    ends = [*table["low"], *table["high"]] or [0.0, 1.0]
    margin = max(0.01, 0.08 * (max(ends) - min(ends)))
    domain = [min(ends) - margin, max(ends) + margin]
    base = alt.Chart(_values(table)).encode(
        y=alt.Y("group:N", title=None, sort=None, axis=alt.Axis(labelLimit=140)),
        yOffset=alt.YOffset("series:N", sort=list(series)),
        color=_colour("series", list(series), colours),
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


def latent_figure(table: Table, palette: Palette) -> alt.Chart:
    """Every shown latent by relative norm and by the share of its firing that is chat."""
    return (
        alt.Chart(_values(table))
        .mark_circle(opacity=0.6, size=22)
        .encode(
            x=alt.X(
                "relative_norm:Q",
                title="relative decoder norm r",
                scale=alt.Scale(domain=[0, 1], nice=False),
                axis=alt.Axis(tickCount=10, format=".1f", grid=False),
            ),
            y=alt.Y(
                "chat_share:Q",
                title="share of firing on chat",
                scale=alt.Scale(domain=[0, 1], nice=False),
                axis=alt.Axis(format=".0%", tickCount=5),
            ),
            color=_colour("cluster", list(CLUSTERS), palette.clusters),
            tooltip=[
                alt.Tooltip("latent:Q"),
                alt.Tooltip("relative_norm:Q", title="r", format=".3f"),
                alt.Tooltip("decoder_cosine:Q", title="cosine", format=".3f"),
                alt.Tooltip("rate_pile:Q", title="fires on text", format=".3%"),
                alt.Tooltip("rate_chat:Q", title="fires on chat", format=".3%"),
            ],
        )
    )


def scaling_figure(table: Table, palette: Palette) -> alt.TopLevelMixin:
    """Latents by nu_eps and nu_r, coloured by verdict, with intervals where the table has them;
    bottom left of the dashed lines a latent is exclusive."""
    names = {"shared": "shared", "base_only": "base-only", "it_only": "IT-only"}
    names |= {"undecided": "undecided"}
    colours = [palette.shared, palette.base, palette.it, palette.other]
    span = alt.Scale(domain=[-0.5, 1.5], nice=False, clamp=True)
    x = alt.X("nu_eps:Q", title="ν of the error", scale=span, axis=alt.Axis(tickCount=8))
    y = alt.Y("nu_r:Q", title="ν of the reconstruction", scale=span, axis=alt.Axis(tickCount=8))
    verdicts = [names.get(verdict, verdict) for verdict in table["verdict"]]
    base = alt.Chart(_values({**table, "verdict": verdicts})).encode(
        color=_colour("verdict", list(names.values()), colours),
        tooltip=[
            alt.Tooltip("latent:Q"),
            alt.Tooltip("verdict:N"),
            alt.Tooltip("norm_bin:N", title="by norm"),
            alt.Tooltip("relative_norm:Q", title="r", format=".3f"),
            alt.Tooltip("nu_eps:Q", title="ν error", format=".3f"),
            alt.Tooltip("nu_r:Q", title="ν reconstruction", format=".3f"),
        ],
    )
    known = base.transform_filter("isValid(datum.nu_eps_low) && isValid(datum.nu_r_low)")
    edge = {"color": palette.muted, "strokeDash": [3, 3]}
    return alt.layer(
        alt.Chart(_values({"nu": [0.2]})).mark_rule(**edge).encode(x="nu:Q"),
        alt.Chart(_values({"nu": [0.5]})).mark_rule(**edge).encode(y="nu:Q"),
        known.mark_rule(opacity=0.4).encode(x="nu_eps_low:Q", x2="nu_eps_high:Q", y=y),
        known.mark_rule(opacity=0.4).encode(y="nu_r_low:Q", y2="nu_r_high:Q", x=x),
        base.mark_circle(opacity=0.65, size=24).encode(x=x, y=y),
    )


def cluster_of(relative_norm: float) -> str:
    """The legend name of the cluster a relative norm lies in."""
    return _cluster(relative_norm)


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


def _values(table: Table) -> alt.InlineData:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return alt.InlineData(values=rows)


def _colour(field: str, domain: list[str], colours: list[str]) -> alt.Color:
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
