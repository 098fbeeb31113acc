"""The histograms of relative norm and decoder cosine, and every latent as a dot."""

from collections.abc import Sequence

import altair as alt

from pipeline.analysis.charts import Palette, Table, colour, inline_values
from pipeline.analysis.decoders.geometry import MINDER, REFERENCE

CLUSTERS = ("base-only side", "between", "shared", "IT-only side")


def log_counts(column: str, title: str) -> alt.Y:
    """A logarithmic axis of counts from 0, on which single latents show beside thousands."""
    return alt.Y(
        f"{column}:Q",
        title=f"{title}, logarithmic",
        scale=alt.Scale(type="symlog", constant=1),
        axis=alt.Axis(values=[0, 1, 10, 100, 1_000, 10_000, 100_000]),
    )


def relative_norm_figure(table: Table, palette: Palette) -> alt.TopLevelMixin:
    """Histogram of r over the live latents, on a scale that shows single latents and thousands."""
    clusters = [cluster_of(r) for r in table["relative_norm"]]
    bars = (
        alt.Chart(inline_values({**table, "cluster": clusters}))
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
            y=log_counts("n_live", "live latents"),
            color=colour("cluster", list(CLUSTERS), palette.clusters),
            tooltip=[
                alt.Tooltip("low:Q", title="r from", format=".3f"),
                alt.Tooltip("high:Q", title="to", format=".3f"),
                alt.Tooltip("n_live:Q", title="live latents"),
                alt.Tooltip("n_dead:Q", title="dead latents"),
            ],
        )
    )
    marks = {"r": [MINDER.low, MINDER.high], "rule": ["Minder base-only", "Minder IT-only"]}
    rules = (
        alt.Chart(inline_values(marks))
        .mark_rule(color=palette.muted, strokeDash=[3, 3])
        .encode(x="r:Q", tooltip=[alt.Tooltip("rule:N"), alt.Tooltip("r:Q", format=".3f")])
    )
    return alt.layer(bars, rules)


def decoder_cosine_figure(table: Table, palette: Palette) -> alt.Chart:
    """Histogram of the cosine between the two decoders of the live shared latents."""
    return (
        alt.Chart(inline_values(table))
        .mark_bar(binSpacing=0, color=palette.shared)
        .encode(
            x=alt.X(
                "low:Q",
                title="cosine of base and IT decoder",
                scale=alt.Scale(domain=[-1, 1], nice=False),
                bin=alt.BinParams(binned=True),
                axis=alt.Axis(tickCount=5, format=".1f", grid=False),
            ),
            x2="high:Q",
            y=log_counts("n_shared", "shared latents"),
            tooltip=[
                alt.Tooltip("low:Q", title="cosine from", format=".3f"),
                alt.Tooltip("high:Q", title="to", format=".3f"),
                alt.Tooltip("n_shared:Q", title="shared latents"),
            ],
        )
    )


def latent_figure(table: Table, palette: Palette, *, sources: Sequence[str]) -> alt.Chart:
    """Every shown latent by relative norm and by the share of its firing that is on the last of
    the sources."""
    return (
        alt.Chart(inline_values(table))
        .mark_circle(opacity=0.6, size=22)
        .encode(
            x=alt.X(
                "relative_norm:Q",
                title="relative decoder norm r",
                scale=alt.Scale(domain=[0, 1], nice=False),
                axis=alt.Axis(tickCount=10, format=".1f", grid=False),
            ),
            y=alt.Y(
                "share:Q",
                title=f"share of firing on {sources[-1]}",
                scale=alt.Scale(domain=[0, 1], nice=False),
                axis=alt.Axis(format=".0%", tickCount=5),
            ),
            color=colour("cluster", list(CLUSTERS), palette.clusters),
            tooltip=[
                alt.Tooltip("latent:Q"),
                alt.Tooltip("relative_norm:Q", title="r", format=".3f"),
                alt.Tooltip("decoder_cosine:Q", title="cosine", format=".3f"),
                *(
                    alt.Tooltip(f"rate_{source}:Q", title=f"fires on {source}", format=".3%")
                    for source in sources
                ),
            ],
        )
    )


def cluster_of(relative_norm: float) -> str:
    """The legend name of the cluster a relative norm lies in: exclusive by Minder's criterion,
    shared by the reference's."""
    if relative_norm < MINDER.low:
        return CLUSTERS[0]
    if relative_norm > MINDER.high:
        return CLUSTERS[3]
    return CLUSTERS[2 if REFERENCE.low <= relative_norm <= REFERENCE.high else 1]
