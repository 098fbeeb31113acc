"""The table with one row per latent, and what of it the page shows."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.analysis.decoders.geometry import Geometry, bins_of
from pipeline.analysis.evaluation.rows_pass import HeldoutSums

DIGITS = 7
"""Significant ones of the floats in `results/latents.csv`."""

if TYPE_CHECKING:
    import pandas as pd


def latent_table(geometry: Geometry, sums: HeldoutSums) -> "pd.DataFrame":
    """One row per latent with the columns of LatentColumns, in dictionary order."""
    import pandas as pd

    n_C = sums.n_UC.sum(axis=0)
    fired_L = sums.n_fired_CL.sum(axis=0)
    rates = {
        f"rate_{name}": sums.n_fired_CL[cells].sum(axis=0) / max(1.0, n_C[cells].sum())
        for name, cells in sums.cells.groups.items()
    }
    return pd.DataFrame(
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
