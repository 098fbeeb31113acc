"""Small plants to test against."""

from typing import Any

from pipeline.config.plant import PlantConfig

FEATURE: dict[str, Any] = {
    "n": 4,
    "rate_low": 0.01,
    "rate_high": 0.2,
    "base_gain": 1.0,
    "it_gain": 1.0,
    "cosine": 1.0,
    "base_contexts": "all",
    "it_contexts": "all",
    "cluster_size": 1,
    "cofiring": 1.0,
    "document_share": 0.5,
    "strength": 2.0,
    "strength_spread": 0.3,
}
BACKGROUND: dict[str, Any] = {
    "kind": "synthetic",
    "d_model": 16,
    "n_rows": 20_000,
    "n_heldout_rows": 9_000,
    "document_rows": 40,
    "sources": ["pile", "chat"],
    "rank": 3,
    "spectrum_exponent": 1.0,
    "noise_share": 0.3,
    "model_cosine": 0.9,
    "mean_norm": 1.0,
    "n_outliers": 1,
    "outlier_ratio": 5.0,
}


def plant(groups: dict[str, Any], seed: int = 3, **background: Any) -> PlantConfig:
    """A synthetic plant; groups name what differs from FEATURE."""
    return PlantConfig.model_validate(
        {
            "background": {**BACKGROUND, **background},
            "feature": FEATURE,
            "groups": groups,
            "seed": seed,
        }
    )
