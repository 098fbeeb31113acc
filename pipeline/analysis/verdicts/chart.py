"""Which latents a scatter shows, and where: every one that matters, an even sample of the rest."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.charts import Palette, colour, inline_values
from pipeline.analysis.decoders.geometry import CHANGED, EXCLUSIVE_BINS
from pipeline.columns import Table

N_SHARED = 1_500
N_INTERVALS = 300
"""Latents drawn with their intervals; more would hide each other."""
NU_SHOWN = (-0.5, 1.5)
"""nu beyond this is drawn on the edge."""


def scaling_points(latents: Mapping[str, Any]) -> Table:
    """Columns of the nu figure, of the columns of `results/latents.parquet`.

    All latents that norm or nu calls exclusive, or that nu leaves undecided; at most N_SHARED of
    the shared ones. Latents without a nu (dead, or not growing with their anchor) are left out.
    The ends of the intervals are None but for N_INTERVALS that are not plainly shared.
    """
    nu = {name: np.asarray(latents[name], dtype=np.float64) for name in ("nu_eps", "nu_r")}
    norm_bin, verdict = np.asarray(latents["norm_bin"]), np.asarray(latents["verdict"])
    known = np.isfinite(nu["nu_eps"]) & np.isfinite(nu["nu_r"])
    special = np.isin(norm_bin, EXCLUSIVE_BINS) | (verdict != "shared")
    kept, others = np.flatnonzero(known & special), np.flatnonzero(known & ~special)
    rows = np.concatenate([kept, others[:: max(1, -(-others.size // N_SHARED))]])
    return {
        "latent": rows.tolist(),
        **{name: values[rows].clip(*NU_SHOWN).round(4).tolist() for name, values in nu.items()},
        **{
            f"{name}_{end}": _ends(latents[f"{name}_{end}"], rows, kept.size)
            for name in nu
            for end in ("low", "high")
        },
        "verdict": verdict[rows].tolist(),
        "norm_bin": norm_bin[rows].tolist(),
        "relative_norm": np.asarray(latents["relative_norm"])[rows].round(4).tolist(),
    }


def _ends(values: Any, rows: NDArray[np.integer], n_special: int) -> list[float | None]:
    """The values at the rows, None but for at most N_INTERVALS of the first `n_special`."""
    ends = np.asarray(values, dtype=np.float64)[rows].clip(*NU_SHOWN).round(4)
    step = max(1, -(-n_special // N_INTERVALS))
    drawn = (np.arange(rows.size) < n_special) & (np.arange(rows.size) % step == 0)
    return [
        float(end) if draw and np.isfinite(end) else None
        for end, draw in zip(ends, drawn, strict=True)
    ]


def scaling_figure(
    table: Table, palette: Palette, *, limits: tuple[float, float]
) -> alt.TopLevelMixin:
    """Latents by nu_eps and nu_r, coloured by verdict, with intervals where the table has them;
    bottom left of the dashed lines, the limits of the two, a latent can be exclusive."""
    names = {"shared": "shared", "base_only": "base-only", "it_only": "IT-only"}
    names |= dict.fromkeys(CHANGED, "changed") | {"undecided": "undecided"}
    shown = list(dict.fromkeys(names.values()))
    colours = [palette.shared, palette.base, palette.it, palette.other, palette.muted]
    span = alt.Scale(domain=list(NU_SHOWN), nice=False, clamp=True)
    x = alt.X("nu_eps:Q", title="ν of the error", scale=span, axis=alt.Axis(tickCount=8))
    y = alt.Y("nu_r:Q", title="ν of the reconstruction", scale=span, axis=alt.Axis(tickCount=8))
    verdicts = [names.get(verdict, verdict) for verdict in table["verdict"]]
    base = alt.Chart(inline_values({**table, "verdict": verdicts})).encode(
        color=colour("verdict", shown, colours),
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
        alt.Chart(inline_values({"nu": [limits[0]]})).mark_rule(**edge).encode(x="nu:Q"),
        alt.Chart(inline_values({"nu": [limits[1]]})).mark_rule(**edge).encode(y="nu:Q"),
        known.mark_rule(opacity=0.4).encode(x="nu_eps_low:Q", x2="nu_eps_high:Q", y=y),
        known.mark_rule(opacity=0.4).encode(y="nu_r_low:Q", y2="nu_r_high:Q", x=x),
        base.mark_circle(opacity=0.65, size=24).encode(x=x, y=y),
    )
