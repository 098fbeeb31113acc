"""Recall and false discovery rate of exclusive verdicts, by criterion and frequency, as a chart."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from pipeline.analysis.charts import Palette
from pipeline.results import applies

CRITERION_NAMES = {
    "norm_reference": "norm: r < 0.3 or > 0.7",
    "norm_minder": "norm: r < 1/6 or > 5/6",
    "norm_anthropic": "norm: r < 0.05 or > 0.95",
    "nu": "latent scaling ν",
}
MEASURES = {"recall": "recall", "fdr": "false discovery rate"}
FREQUENCIES = ("common", "rare")
NOTHING_PLANTED = alt.Chart(alt.InlineData(values=[{"text": "nothing is planted"}])).mark_text()
NOTHING_PLANTED = NOTHING_PLANTED.encode(text="text:N")


def recovery_figure(scores: Mapping[str, Any], palette: Palette) -> alt.TopLevelMixin:
    """Recall and false discovery rate of the `exclusive` scores of `results/recovery.json`."""
    if not applies(scores):
        return NOTHING_PLANTED
    rows = [
        {"criterion": name, "frequency": frequency, "measure": measure, "value": found[key]}
        for criterion, name in CRITERION_NAMES.items()
        for frequency in FREQUENCIES
        for key, measure in MEASURES.items()
        for found in [scores["criteria"][criterion]["exclusive"]["exclusive"][frequency]]
        if found[key] is not None
    ]
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_point(filled=True, size=90)
        .encode(
            x=alt.X(
                "value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%")
            ),
            y=alt.Y("criterion:N", title=None, sort=None, axis=alt.Axis(labelLimit=200)),
            yOffset=alt.YOffset("frequency:N", sort=list(FREQUENCIES)),
            color=alt.Color(
                "measure:N",
                scale=alt.Scale(domain=list(MEASURES.values()), range=[palette.it, palette.base]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            shape=alt.Shape("frequency:N", legend=alt.Legend(title=None, orient="top")),
            tooltip=[
                "criterion:N",
                "frequency:N",
                "measure:N",
                alt.Tooltip("value:Q", format=".1%"),
            ],
        )
    )
