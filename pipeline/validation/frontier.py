"""Sparsity against fidelity: one row per crosscoder trained on the same store."""

from collections.abc import Mapping
from typing import Any

from pipeline.columns import Table, rows_of
from pipeline.labels import MODELS
from pipeline.results import NOT_MEASURED, applicable

FIGURES = {
    "l0": ("reconstruction", "l0"),
    "fve": ("reconstruction", "fve_both"),
    **{f"fve_{model}": ("reconstruction", f"fve_{model}") for model in MODELS},
    **{f"delta_ce_{model}": (model, "delta_ce_spliced") for model in MODELS},
    **{f"ce_recovered_{model}": (model, "ce_recovered_zero") for model in MODELS},
}
"""Column -> where it stands in `results/evaluation.json`, of all tokens."""

COLUMNS = {
    "variant": "variant of the crosscoder",
    "value": "value of the keys that the sweep sets: sparsity coefficient or k",
    "n_dead": "latents active on no held-out row of the window",
    "l0": "active latents per held-out row",
    "fve": "fraction of variance explained, both models in the normalised space",
    "fve_base": "fraction of variance explained in the base model",
    "fve_it": "fraction of variance explained in the IT model",
    "delta_ce_base": "nats that the splice adds to the base model's cross entropy",
    "delta_ce_it": "nats that the splice adds to the IT model's cross entropy",
    "ce_recovered_base": "share of the cross entropy lost by zero ablation that the splice keeps",
    "ce_recovered_it": "the same in the IT model",
    "*_low, *_high": "ends of the interval over sequences",
}


def frontier_table(points: Mapping[tuple[str, float], Mapping[str, Any]]) -> Table:
    """(variant, value) -> `results/evaluation.json`, as a table with the columns of COLUMNS.

    What is not defined, as cross entropies without models, is None.
    """
    table: Table = {"variant": [], "value": [], "n_dead": []}
    for (variant, value), evaluation in points.items():
        table["variant"].append(variant)
        table["value"].append(value)
        table["n_dead"].append(evaluation["dead_latents"])
        for column, (part, figure) in FIGURES.items():
            spliced = applicable(evaluation["splice"]) or {}
            groups = spliced.get(part) if part in MODELS else evaluation[part]
            estimate = groups["all"][figure] if groups else NOT_MEASURED
            for suffix, end in (("", "value"), ("_low", "low"), ("_high", "high")):
                table.setdefault(f"{column}{suffix}", []).append(estimate[end])
    return table


def nested(table: Table) -> dict[str, list[dict[str, Any]]]:
    """Variant -> its points, from sparse to dense."""
    rows = rows_of(table)
    variants = dict.fromkeys(table["variant"])
    return {
        variant: sorted(
            (
                {name: value for name, value in row.items() if name != "variant"}
                for row in rows
                if row["variant"] == variant
            ),
            key=lambda row: row["l0"],
        )
        for variant in variants
    }
