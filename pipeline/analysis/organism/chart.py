"""What goes of a planted behaviour when latents are taken out, drawn beside controls."""

import altair as alt

from pipeline.analysis.charts import Palette, Table, interval_figure


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
