"""What goes of a planted behaviour when latents are taken out, beside controls: a table, drawn."""

import altair as alt

from pipeline.analysis.charts import Palette, Table, interval_figure
from pipeline.analysis.organism.result import PARTS, Ablation, AblationColumns
from pipeline.columns import table_of
from pipeline.results import Measured, descriptions

SERIES = {
    "chosen": "chosen latents",
    "same_rate": "random, same firing rate",
    "same_rate_in_exchanges": "random, active in exchanges",
    "twin": "chosen latents, in the twin",
}
COLUMNS = descriptions(AblationColumns)
SET_NAMES = {
    "best": "most selective latent",
    "before": "most selective before the reply",
    "reply": "most selective in the reply",
    "selective": "most selective latents",
    "it_only_best": "most selective IT-only latent",
    "it_only": "all IT-only latents",
}
"""What the figure and the page call each set of latents."""


def ablation_table(ablation: Ablation, in_twin: Ablation | None = None) -> Table:
    """Effects removed, one row per set, part and series, with the columns of COLUMNS; empty sets
    are left out. in_twin: the same of the twin, where there is one"""
    rows = []
    for name, found in ablation.items():
        if "controls" not in found:
            continue
        for part in PARTS:
            drawn: dict[str, Measured] = {
                control: of[part] for control, of in found["controls"].items() if "onset" in of
            }
            beside = (in_twin or {}).get(name)
            if beside and "effect_removed" in beside:
                drawn["twin"] = beside["effect_removed"][part]
            for series, shown in ({"chosen": found["effect_removed"][part]} | drawn).items():
                row = {"set": SET_NAMES[name], "part": part, "series": SERIES[series]}
                rows.append({**row, "n_latents": found["n_latents"], **shown})
    return table_of(rows, COLUMNS)


def organism_figure(table: Table, palette: Palette) -> alt.TopLevelMixin:
    """Share of a planted behaviour that goes with each set of latents, beside random sets: on the
    reply's first token, where the model decides, and on the whole reply; and with the same latents
    from the twin, where there is one."""
    names: list[str] = list(dict.fromkeys(["chosen latents", *table["series"]]))
    roles: dict[str, str] = dict(zip(names, ("it", "other", "base", "shared"), strict=False))
    titles = {"onset": "the reply's first token", "reply": "the whole reply"}
    panels = []
    for part, title in titles.items():
        kept = [n for n, name in enumerate(table["part"]) if name == part]
        points = {name: [values[n] for n in kept] for name, values in table.items()}
        panel = interval_figure(
            {**points, "group": points["set"]},
            palette,
            title=f"effect removed, {title}  (1 = as without trigger)",
            series=roles,
        )
        panels.append(panel.properties(width=300, height=260))
    return alt.hconcat(*panels)
