"""The evaluation as one table of figures, and the few of them that sum it up."""

from typing import Any

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.evaluation.published import PUBLISHED, is_published_pair
from pipeline.analysis.evaluation.reconstruction import reconstruction_table
from pipeline.analysis.evaluation.result import Evaluation
from pipeline.analysis.evaluation.rows_pass import HeldoutSums
from pipeline.analysis.evaluation.splice import SpliceSums
from pipeline.analysis.evaluation.splice_table import splice_table
from pipeline.labels import MODELS
from pipeline.results import Measured, applicable, not_applicable

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
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in short.items()
    }
