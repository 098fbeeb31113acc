"""The evaluation as figures with intervals, the few that sum it up, and a row per latent."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pipeline.analysis.bootstrap import Bootstrap, Floats
from pipeline.analysis.decoders.geometry import Geometry, bins_of
from pipeline.analysis.evaluation.published import PUBLISHED, is_published_pair
from pipeline.analysis.evaluation.result import Evaluation, Reconstruction, Spliced, SpliceTable
from pipeline.analysis.evaluation.rows_pass import SERIES, HeldoutSums
from pipeline.analysis.evaluation.splice import PATCHES, SpliceSums
from pipeline.labels import MODELS
from pipeline.results import Measured, applicable, not_applicable, rounded

if TYPE_CHECKING:
    import pandas as pd

UNITS = {
    "l0": "active latents per token",
    "l0_training": "the same in the last logged batch of training; null where nothing was trained",
    "l0_gap": "held-out l0 minus l0_training: what the inference threshold changes",
    "fve_*": "1 - sum ||x - x_hat||^2 / sum ||x - mean||^2, mean = global held-out mean",
    "difference_share": "sum ||d - mean d||^2, d = x_IT - x_base, over the mean of both models' "
    "sum ||x - mean||^2: how large what the page explains is beside an activation",
    "reference_ev_*": "mean over tokens of 1 - ||x - x_hat||^2 / ||x - mean||^2",
    "ce_*, delta_ce_*, kl_*": "nats per predicted token; groups by the predicted token",
    "*_recovered_*": "1 - (spliced - clean) / (ablated - clean); 1 = nothing lost",
    "*_with_bos": "the same with BOS replaced as every other token is; elsewhere BOS keeps its own "
    "activation and is an undisturbed context for all others, in the splice and in the ablation",
}
NO_MODELS = not_applicable("the experiment has no models to splice into")
DIGITS = 7
"""Significant ones of the floats in `results/latents.csv`."""
CLEAN, SPLICED, ZERO, MEAN, SPLICED_WITH_BOS, ZERO_WITH_BOS = range(len(PATCHES))
DISTURBED = range(SPLICED, len(PATCHES))
"""All patches but the clean one."""


def evaluation(
    sums: HeldoutSums,
    splice: SpliceSums | None,
    *,
    bootstrap_of: dict[str, Bootstrap],
    confidence: float,
    models: dict[str, Any],
    l0_training: float | None = None,
) -> Evaluation:
    """Everything `results/evaluation.json` holds. bootstrap_of: for `rows` and for `splice`.

    splice: None where there are no models to splice into; l0_training: None where nothing was
    trained
    """
    fired = sums.n_fired_CL.sum(axis=0)
    reconstruction = reconstruction_table(sums, bootstrap_of["rows"])
    return {
        "units": UNITS,
        "confidence": confidence,
        "window_tokens": sums.n_rows,
        "dead_latents": int((fired == 0).sum()),
        "n_latents": int(fired.size),
        "l0_training": l0_training,
        "l0_gap": _gap(reconstruction["all"]["l0"], l0_training),
        "reconstruction": reconstruction,
        "n_sequences_spliced": int(splice.n_QC.shape[0]) if splice else 0,
        "splice": splice_table(splice, bootstrap_of["splice"]) if splice else NO_MODELS,
        "published": {"is_this_pair": is_published_pair(models), "rows": list(PUBLISHED)},
    }


def _gap(l0: Measured, l0_training: float | None) -> Measured:
    """Held-out L0 minus that of training, with the interval of the former."""

    def less(value: float | None) -> float | None:
        return None if l0_training is None or value is None else value - l0_training

    return {"value": less(l0["value"]), "low": less(l0["low"]), "high": less(l0["high"])}


def summary(full: Evaluation) -> dict[str, Any]:
    """The few figures to compare runs by, without intervals: `results/evaluation_summary.json`."""
    everything = full["reconstruction"]["all"]
    short = {
        "l0": everything["l0"]["value"],
        "l0_gap": full["l0_gap"]["value"],
        "dead_latents": full["dead_latents"],
        "window_tokens": full["window_tokens"],
        "fve_base": everything["fve_base"]["value"],
        "fve_it": everything["fve_it"]["value"],
        "fve_difference": everything["fve_difference"]["value"],
        "difference_share": everything["difference_share"]["value"],
        "reference_ev_both": everything["reference_ev_both"]["value"],
    }
    for model, groups in (applicable(full["splice"]) or {}).items():
        if model not in MODELS:
            continue
        figures = groups["all"]
        short[f"delta_ce_{model}"] = figures["delta_ce_spliced"]["value"]
        short[f"ce_recovered_{model}"] = figures["ce_recovered_zero"]["value"]
        short[f"kl_{model}"] = figures["kl_spliced"]["value"]
    return rounded(short)


def reconstruction_table(sums: HeldoutSums, bootstrap: Bootstrap) -> dict[str, Reconstruction]:
    """Group -> figure -> {value, low, high}, plus n_tokens.

    l0: active latents per token
    fve_<series>: 1 - sum ||x - x_hat||^2 / sum ||x - mean||^2, mean = global held-out mean
    fve_both: the same over both models in the normalised space
    difference_share: variance of the difference over the mean variance of the two models, raw
    reference_ev_<model>, reference_ev_both: the reference's mean over tokens of
    1 - ||x - x_hat||^2 / ||x - mean||^2 (Kissane et al. 2024), in the normalised space
    """
    return {name: _rebuilt(sums, cells, bootstrap) for name, cells in sums.cells.groups.items()}


def _rebuilt(sums: HeldoutSums, cells: list[int], bootstrap: Bootstrap) -> Reconstruction:
    n = sums.n_UC[:, cells].sum(axis=1)
    error = sums.error_UCK[:, cells].sum(axis=1)
    total = sums.total_UCK[:, cells].sum(axis=1)
    ev = sums.reference_ev_UCM[:, cells].sum(axis=1)
    both = sums.reference_ev_UC[:, cells].sum(axis=1)
    squared_scale = np.square(sums.activation_scale_M)
    fve = {
        name: bootstrap.one_minus_ratio(error[:, k], total[:, k]) for k, name in enumerate(SERIES)
    }
    return {
        "n_tokens": int(n.sum()),
        "l0": bootstrap.ratio(sums.n_active_UC[:, cells].sum(axis=1), n),
        "fve_base": fve["base"],
        "fve_it": fve["it"],
        "fve_difference": fve["difference"],
        "fve_both": bootstrap.one_minus_ratio(
            error[:, :2] @ squared_scale, total[:, :2] @ squared_scale
        ),
        "difference_share": bootstrap.ratio(total[:, 2], total[:, :2].mean(axis=1)),
        "reference_ev_base": bootstrap.ratio(ev[:, 0], n),
        "reference_ev_it": bootstrap.ratio(ev[:, 1], n),
        "reference_ev_both": bootstrap.ratio(both, n),
    }


def splice_table(sums: SpliceSums, bootstrap: Bootstrap) -> SpliceTable:
    """Model -> group -> figure -> {value, low, high}; all figures in nats per prediction.

    `both` is the mean of the two models: predictions of either count alike.

    ce_<patch>: cross entropy; delta_ce_<patch>: minus that of the clean model
    kl_<patch>: KL(clean || patched)
    ce_recovered_<ablation>: 1 - (CE spliced - CE clean) / (CE ablated - CE clean)
    kl_recovered_<ablation>: 1 - KL spliced / KL ablated; of zero_with_bos, both with BOS replaced
    """
    of_models = {model: [m] for m, model in enumerate(MODELS)} | {"both": [*range(len(MODELS))]}
    return {
        name: {
            group: _spliced(sums, models, cells, bootstrap)
            for group, cells in sums.cells.groups.items()
        }
        for name, models in of_models.items()
    }


def _spliced(
    sums: SpliceSums, models: list[int], cells: list[int], bootstrap: Bootstrap
) -> Spliced:
    n = len(models) * sums.n_QC[:, cells].sum(axis=1)
    ce = sums.ce_MQCP[models][:, :, cells].sum(axis=(0, 2))
    kl = sums.kl_MQCP[models][:, :, cells].sum(axis=(0, 2))

    def mean(sum_Q: Floats) -> Measured:
        return bootstrap.ratio(sum_Q, n)

    def recovered(spliced: int, ablated: int) -> Measured:
        three = ce[:, [CLEAN, spliced, ablated]]
        return bootstrap.estimate(three, _recovered)

    def kl_recovered(spliced: int, ablated: int) -> Measured:
        return bootstrap.one_minus_ratio(kl[:, spliced], kl[:, ablated])

    figures = {
        "n_predictions": int(n.sum()),
        **{f"ce_{name}": mean(ce[:, p]) for p, name in enumerate(PATCHES)},
        **{f"delta_ce_{PATCHES[p]}": mean(ce[:, p] - ce[:, CLEAN]) for p in DISTURBED},
        **{f"kl_{PATCHES[p]}": mean(kl[:, p]) for p in DISTURBED},
        "ce_recovered_zero": recovered(SPLICED, ZERO),
        "ce_recovered_mean": recovered(SPLICED, MEAN),
        "ce_recovered_zero_with_bos": recovered(SPLICED_WITH_BOS, ZERO_WITH_BOS),
        "kl_recovered_zero": kl_recovered(SPLICED, ZERO),
        "kl_recovered_mean": kl_recovered(SPLICED, MEAN),
        "kl_recovered_zero_with_bos": kl_recovered(SPLICED_WITH_BOS, ZERO_WITH_BOS),
    }
    return cast(Spliced, figures)


def _recovered(clean_spliced_ablated: Floats) -> Floats:
    clean, spliced, ablated = np.moveaxis(clean_spliced_ablated, -1, 0)
    return 1 - (spliced - clean) / (ablated - clean)


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
