"""The results of the model organism as a table to draw, and what stands there without one."""

from typing import Any

from pipeline.analysis.decoders import Table

SERIES = {
    "chosen": "chosen latents",
    "same_rate": "random, same firing rate",
    "same_rate_in_exchanges": "random, same rate in exchanges",
}
COLUMNS = {
    "set": "set of latents taken out of the IT model: see glossary.sets of organism.json",
    "series": "the chosen latents, or a kind of random latents in their place (mean over draws)",
    "n_latents": "latents in the set",
    "value": "share of the trigger's effect on the log probability of the planted reply that goes",
    "low": "lower end of its interval over prompts",
    "high": "upper end of its interval over prompts",
}
SET_NAMES = {
    "best": "most selective latent",
    "before": "selective before the reply",
    "reply": "selective in the reply",
    "selective": "both",
    "it_only_best": "most selective IT-only latent",
    "it_only": "all IT-only latents",
}


def not_applicable(reason: str) -> dict[str, Any]:
    """The result of an experiment that plants nothing."""
    return {"applicable": False, "reason": reason}


def ablation_table(result: dict[str, Any]) -> Table:
    """Effects removed, one row per set and series, with the columns of COLUMNS; empty sets, and
    everything where nothing was planted, are left out."""
    table: Table = {name: [] for name in COLUMNS}
    for name, found in result.get("ablation", {}).items():
        if not found["n_latents"]:
            continue
        effects = {"chosen": found["effect_removed"]}
        effects |= {
            control: drawn["effect_removed"]
            for control, drawn in found["controls"].items()
            if drawn["n_draws"]
        }
        for series, effect in effects.items():
            row = {
                "set": SET_NAMES[name],
                "series": SERIES[series],
                "n_latents": found["n_latents"],
                **effect,
            }
            for column in COLUMNS:
                table[column].append(row[column])
    return table
