"""The section on the model organism."""

from typing import Any

from pipeline.analysis.organism.chart import organism_figure
from pipeline.report.chart import Chart
from pipeline.report.format import percent
from pipeline.report.results import Table
from pipeline.report.rows import NO_ESTIMATE, Result, Row

SET_NAMES = {
    "best": "most selective latent",
    "before": "most selective before the reply",
    "reply": "most selective in the reply",
    "selective": "most selective latents",
    "it_only_best": "most selective IT-only latent",
    "it_only": "all IT-only latents",
}


PARTS = ("onset", "reply")


def ablation_rows(result: Result) -> list[Row]:
    """One row per set of latents that is not empty: what taking it out of the IT model removes, on
    the planted reply's first token (onset) and on all of it, beside random sets."""
    rows = []
    for name, title in SET_NAMES.items():
        found = result["ablation"].get(name, {"n_latents": 0})
        if not found["n_latents"]:
            continue
        control = found["controls"].get("same_rate", {"n_draws": 0})
        rows.append(
            {
                "name": title,
                "n_latents": found["n_latents"],
                "latents": found["latents"][:8],
                "replies": found["greedy_rate_removed"],
                "cost": found["ordinary_loss_added_per_token"],
                **{part: found["effect_removed"][part] for part in PARTS},
                **{
                    f"random_{part}": control[part] if control["n_draws"] else NO_ESTIMATE
                    for part in PARTS
                },
                "p_value": control["onset"]["p_value"] if control["n_draws"] else None,
            }
        )
    return rows


def steering_rows(result: Result) -> list[Row]:
    """One row per steering: set, model, strength, what it adds, and what random sets add."""
    return [
        {
            "name": SET_NAMES.get(found["set"], found["set"]),
            "model": {"base": "base", "it": "IT"}[found["model"]],
            "factor": found["factor"],
            "replies": found["greedy_rate"],
            **{part: found["effect_added"][part] for part in PARTS},
            "random": found["control"]["onset"]["mean"],
            "p_value": found["control"]["onset"]["p_value"],
        }
        for found in result["steering"]
    ]


def organism_chart(result: dict[str, Any], table: Table) -> Chart:
    found = result["ablation"]["selective"].get("effect_removed")
    removed = found["onset"]["value"] if found else None
    return Chart(
        f"Without the most selective latents {percent(removed, 0)} of the trigger’s effect "
        "on the reply’s first token is gone",
        260,
        table,
        organism_figure,
    )
