"""How alike the latents of two seeds are, drawn beside chance."""

import altair as alt

from pipeline.analysis.charts import Palette, Table, interval_figure


def seeds_figure(table: Table, palette: Palette) -> alt.TopLevelMixin:
    """Mean largest cosine between the latents of two seeds, by verdict, beside chance."""
    pairs = [f"{a} and {b}" for a, b in zip(table["run_a"], table["run_b"], strict=True)]
    groups = [
        f"{verdict.replace('_', '-')}, {pair}"
        for verdict, pair in zip(table["verdict"], pairs, strict=True)
    ]
    chance = table["mmcs_rotated"]
    n = len(groups)
    points: Table = {
        "group": groups * 2,
        "series": ["between seeds"] * n + ["rotated at random"] * n,
        "value": [*table["mmcs"], *chance],
        "low": [*table["low"], *chance],
        "high": [*table["high"], *chance],
    }
    return interval_figure(
        points,
        palette,
        title="mean of each latent's largest cosine with a latent of the other seed",
        series={"between seeds": "it", "rotated at random": "other"},
    )
