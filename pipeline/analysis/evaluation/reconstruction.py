"""L0 and explained variance with intervals, from the sums of the held-out pass."""

import numpy as np

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.evaluation.result import Reconstruction
from pipeline.analysis.evaluation.rows_pass import SERIES, HeldoutSums


def reconstruction_table(sums: HeldoutSums, bootstrap: Bootstrap) -> dict[str, Reconstruction]:
    """Group -> figure -> {value, low, high}, plus n_tokens.

    l0: active latents per token
    fve_<series>: 1 - sum ||x - x_hat||^2 / sum ||x - mean||^2, mean = global held-out mean
    fve_both: the same over both models in the normalised space
    difference_share: variance of the difference over the mean variance of the two models, raw
    reference_ev_<model>, reference_ev_both: the reference's mean over tokens of
    1 - ||x - x_hat||^2 / ||x - mean||^2 (Kissane et al. 2024), in the normalised space
    """
    return {name: _figures(sums, cells, bootstrap) for name, cells in sums.cells.groups.items()}


def _figures(sums: HeldoutSums, cells: list[int], bootstrap: Bootstrap) -> Reconstruction:
    n = sums.n_UC[:, cells].sum(axis=1)
    error = sums.error_UCK[:, cells].sum(axis=1)
    total = sums.total_UCK[:, cells].sum(axis=1)
    ev = sums.reference_ev_UCM[:, cells].sum(axis=1)
    both = sums.reference_ev_UC[:, cells].sum(axis=1)
    squared_scale = np.square(sums.activation_scale_M)
    fve = {
        name: bootstrap.one_minus_ratio(error[:, k], total[:, k]).to_dict()
        for k, name in enumerate(SERIES)
    }
    return {
        "n_tokens": int(n.sum()),
        "l0": bootstrap.ratio(sums.n_active_UC[:, cells].sum(axis=1), n).to_dict(),
        "fve_base": fve["base"],
        "fve_it": fve["it"],
        "fve_difference": fve["difference"],
        "fve_both": bootstrap.one_minus_ratio(
            error[:, :2] @ squared_scale, total[:, :2] @ squared_scale
        ).to_dict(),
        "difference_share": bootstrap.ratio(total[:, 2], total[:, :2].mean(axis=1)).to_dict(),
        "reference_ev_base": bootstrap.ratio(ev[:, 0], n).to_dict(),
        "reference_ev_it": bootstrap.ratio(ev[:, 1], n).to_dict(),
        "reference_ev_both": bootstrap.ratio(both, n).to_dict(),
    }
