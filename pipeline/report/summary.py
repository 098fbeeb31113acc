"""The few figures by which runs are compared: `results/summary.json`, the only metrics of DVC.

Names are short and figures are rounded so that `dvc metrics show` and `dvc exp show` fit a screen.
"""

from collections.abc import Mapping
from typing import Any

FIGURES = {
    "l0": ("evaluation_summary.json", "l0"),
    "fve_base": ("evaluation_summary.json", "fve_base"),
    "fve_it": ("evaluation_summary.json", "fve_it"),
    "fve_diff": ("evaluation_summary.json", "fve_difference"),
    "base_only": ("latent_scaling.json", "base_only"),
    "it_only": ("latent_scaling.json", "it_only"),
    "kl_removed": ("causal_summary.json", "removed_full"),
    "changes": ("changes_summary.json", "n_listed"),
}
"""Name of a metric -> the file below `results/` and the key that it comes from."""
SOURCES = {
    "causal_summary.json": "causal",
    "changes_summary.json": "changes",
    "evaluation_summary.json": "evaluate",
    "latent_scaling.json": "latent_scaling",
}
"""These files, and the stage that writes each."""
DIGITS = 4


def summary(read: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of a run from the JSON files of SOURCES, by name; those of an analysis that
    does not apply to the run are left out."""
    found = {name: read[file].get(key) for name, (file, key) in FIGURES.items()}
    return {name: round(value, DIGITS) for name, value in found.items() if value is not None}
