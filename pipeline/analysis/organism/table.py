"""The results of the model organism as a table to draw."""

from typing import Any

from pipeline.columns import Table

SERIES = {
    "chosen": "chosen latents",
    "same_rate": "random, same firing rate",
    "same_rate_in_exchanges": "random, active in exchanges",
}
COLUMNS = {
    "set": "set of latents taken out of the IT model: see glossary.sets of organism.json",
    "part": "onset: the planted reply's first token; reply: all of it",
    "series": "the chosen latents, or a kind of random latents in their place (mean over draws)",
    "n_latents": "latents in the set",
    "value": "share of the trigger's effect on the log probability that goes with the latents",
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


def ablation_table(result: dict[str, Any]) -> Table:
    """Effects removed, one row per set and series, with the columns of COLUMNS; empty sets, and
    everything where nothing was planted, are left out."""
    table: Table = {name: [] for name in COLUMNS}
    for name, found in result.get("ablation", {}).items():
        if not found["n_latents"]:
            continue
        drawn = {name: found for name, found in found["controls"].items() if found["n_draws"]}
        for part, effect in found["effect_removed"].items():
            effects = {"chosen": effect} | {name: found[part] for name, found in drawn.items()}
            for series, shown in effects.items():
                row = {
                    "set": SET_NAMES[name],
                    "part": part,
                    "series": SERIES[series],
                    "n_latents": found["n_latents"],
                    **shown,
                }
                for column in COLUMNS:
                    table[column].append(row[column])
    return table
