"""The figure of the causal test. A figure computes no statistic."""

import altair as alt

from pipeline.analysis.charts import Palette, Table, interval_figure

LABELS = {
    "none": "base activation alone",
    "bias": "decoder biases only",
    "all": "all latents",
    "full": "all latents and biases",
    "nu_low": "ν lowest half",
    "random_nu_low": "random, as the ν half",
    "nu_high": "ν highest half",
    "delta_high": "Δ highest half",
    "random_delta_high": "random, as the Δ half",
    "delta_low": "Δ lowest half",
    "norm_exclusive": "exclusive by norm",
    "random_norm_exclusive": "random, as by norm",
    "verdict_exclusive": "exclusive by verdict",
    "random_verdict_exclusive": "random, as by verdict",
    "verdict_changed": "turned, stronger, weaker or moved",
    "random_verdict_changed": "random, as the changed",
    "verdict_shared": "shared by verdict",
    "template": "template tokens only",
    "error": "error term only",
    "reconstruction": "IT reconstruction",
    "everything": "reconstruction and error: the IT model",
}
"""What the figure and the page call each patch, in their order."""
SERIES = {"first": "first tokens of a response", "later": "later tokens"}


def causal_figure(table: Table, palette: Palette) -> alt.TopLevelMixin:
    """Share of KL(IT || base activation) that each patch removes, with intervals."""
    points: Table = {"group": [], "series": [], "value": [], "low": [], "high": []}
    order = {name: i for i, name in enumerate(LABELS)}
    rows = [
        row
        for row in zip(*(table[name] for name in COLUMNS), strict=True)
        if row[0] in LABELS and row[1] in SERIES and row[2] is not None
    ]
    for patch, tokens, value, low, high in sorted(rows, key=lambda row: order[row[0]]):
        for name, found in zip(
            points, (LABELS[patch], SERIES[tokens], value, low, high), strict=True
        ):
            points[name].append(found)
    return interval_figure(
        points,
        palette,
        title="share of the KL between base and IT removed  (1 = the IT model)",
        series={SERIES["first"]: "it", SERIES["later"]: "other"},
    )


COLUMNS = ("patch", "tokens", "removed", "removed_low", "removed_high")
