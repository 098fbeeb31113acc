"""Sets of latents for the causal test, and random ones that fire as often.

Letters: L latents, J latents of a set.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.decoders.geometry import CHANGED, EXCLUSIVE_BINS

Ints = NDArray[np.int64]

STRATUM = 16
"""Latents next to each other in firing rate that a random draw takes for one another."""

DESCRIPTIONS = {
    "all": "every latent",
    "nu_low": "the half of the live latents with the lowest nu_eps at the IT decoder: those that "
    "base carries least",
    "nu_high": "the other half by nu",
    "delta_high": "the half of the live latents with the highest Delta: the longest IT decoder "
    "against base's",
    "delta_low": "the other half by Delta",
    "norm_exclusive": "latents that the decoder norms call base-only or IT-only",
    "verdict_exclusive": "latents that the verdict calls base-only or IT-only",
    "verdict_changed": "latents that the verdict calls turned, stronger, weaker or moved",
    "verdict_shared": "latents that the verdict calls shared: alike in both models",
}
MATCHED = ("nu_low", "delta_high", "norm_exclusive", "verdict_exclusive", "verdict_changed")
"""Sets that get random ones beside them."""


def latent_sets(latents: Mapping[str, NDArray[Any]]) -> dict[str, Ints]:
    """The named sets, of the columns of `results/latents.parquet`; empty ones are left out."""
    live = latents["verdict"] != "dead"
    nu, delta = (latents[name].astype(np.float64) for name in ("nu_eps_it", "delta"))
    low_nu, high_nu = _halves(nu, live & np.isfinite(nu))
    low_delta, high_delta = _halves(delta, live)
    sets = {
        "all": np.arange(live.size),
        "nu_low": low_nu,
        "nu_high": high_nu,
        "delta_high": high_delta,
        "delta_low": low_delta,
        "norm_exclusive": np.flatnonzero(np.isin(latents["norm_bin"], EXCLUSIVE_BINS)),
        "verdict_exclusive": np.flatnonzero(np.isin(latents["verdict"], EXCLUSIVE_BINS)),
        "verdict_changed": np.flatnonzero(np.isin(latents["verdict"], CHANGED)),
        "verdict_shared": np.flatnonzero(latents["verdict"] == "shared"),
    }
    return {name: set_J for name, set_J in sets.items() if set_J.size}


def _halves(figure_L: NDArray[np.float64], allowed_L: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The allowed latents with the lower and the higher figures, equally many but one."""
    allowed = np.flatnonzero(allowed_L)
    order = allowed[np.argsort(figure_L[allowed], kind="stable")]
    return np.sort(order[: order.size // 2]), np.sort(order[order.size // 2 :])


def random_sets(
    target_J: Ints, n_active_L: NDArray[np.integer], n_draws: int, random: np.random.Generator
) -> list[Ints]:
    """Sets of the target's size that fire as often: within each run of STRATUM live latents of
    neighbouring firing rate, as many as the target has there, all of them equally likely."""
    live = np.flatnonzero(n_active_L > 0)
    order = live[np.argsort(n_active_L[live], kind="stable")]
    in_target = np.isin(order, target_J)
    strata = [slice(at, at + STRATUM) for at in range(0, order.size, STRATUM)]
    return [
        np.sort(
            np.concatenate(
                [random.permutation(order[part])[: in_target[part].sum()] for part in strata]
            )
        )
        for _ in range(n_draws)
    ]
