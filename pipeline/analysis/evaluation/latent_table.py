"""The table with one row per latent, and what of it the page shows."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.analysis.decoders.geometry import Geometry, bins_of
from pipeline.analysis.evaluation.rows_pass import HeldoutSums
from pipeline.analysis.groups import GROUPS

DIGITS = 7
"""Significant ones of the floats in `results/latents.csv`."""

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "latent": "index in the dictionary",
    "bin": "dead (never active in the window), else base_only (r < 1/6), shared (0.3 < r < 0.7), "
    "it_only (r > 5/6) or between",
    "relative_norm": "r = ||d_it|| / (||d_base|| + ||d_it||), normalised space, 0 to 1",
    "delta": "(1 + (||d_it|| - ||d_base||) / max) / 2, normalised space, 0 to 1",
    "decoder_cosine": "cosine of d_base and d_it, -1 to 1",
    "norm_base": "||d_base||, normalised activation units per unit of the latent",
    "norm_it": "||d_it||, normalised activation units per unit of the latent",
    "rate_all": "share of the window's tokens on which the latent is active",
    "rate_pile": "the same among tokens of the text source",
    "rate_chat": "the same among tokens of the chat source",
    "rate_other": "the same among tokens that are not template",
    "rate_template": "the same among template tokens",
    "mean_active": "mean value where active",
    "max_active": "largest value",
}


def latent_table(geometry: Geometry, sums: HeldoutSums) -> "pd.DataFrame":
    """One row per latent with the columns of COLUMNS, in dictionary order."""
    import pandas as pd

    n_C = sums.n_UC.sum(axis=0)
    fired_L = sums.n_fired_CL.sum(axis=0)
    rates = {
        f"rate_{name}": sums.n_fired_CL[cells].sum(axis=0) / max(1.0, n_C[cells].sum())
        for name, cells in GROUPS.items()
    }
    table = pd.DataFrame(
        {
            "latent": np.arange(fired_L.size),
            "bin": bins_of(geometry.relative_norm, fired_L > 0),
            "relative_norm": geometry.relative_norm,
            "delta": geometry.delta,
            "decoder_cosine": geometry.cosine,
            "norm_base": geometry.norm_base,
            "norm_it": geometry.norm_it,
            **rates,
            "mean_active": sums.sum_fired_CL.sum(axis=0) / np.maximum(1, fired_L),
            "max_active": sums.max_L,
        }
    )
    return table.loc[:, list(COLUMNS)]
