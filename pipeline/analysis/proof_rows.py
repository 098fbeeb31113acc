"""Rows of the page's tables on what only some experiments have: the causal test, baselines, planted
truth, seeds and the model organism. Every function takes the stage's JSON."""

from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]
Result = Mapping[str, Any]

CAUSAL_NAMES = {
    "none": "nothing: base activation alone",
    "all": "every latent",
    "full": "every latent and the decoder biases",
    "bias": "decoder biases only",
    "nu_low": "half with the lowest ν",
    "random_nu_low": "random, as often active",
    "nu_high": "half with the highest ν",
    "delta_high": "half with the highest Δ",
    "random_delta_high": "random, as often active",
    "delta_low": "half with the lowest Δ",
    "norm_exclusive": "exclusive by norm",
    "random_norm_exclusive": "random, as often active",
    "verdict_exclusive": "exclusive by verdict",
    "random_verdict_exclusive": "random, as often active",
    "template": "every latent, template tokens only",
    "error": "error term only",
    "reconstruction": "IT reconstruction in full",
    "everything": "reconstruction and error: the IT model",
}
BASELINE_NAMES = {
    "mean": "mean difference",
    "cell_mean": "mean difference per source and token class",
    "diff_sae": "diff-SAE",
    "crosscoder": "crosscoder",
}
BASELINE_PATCHES = {
    "mean": "mean",
    "cell_mean": "cell_mean",
    "diff_sae": "diff_sae",
    "crosscoder": "full",
}
"""Estimator of the difference -> the patch of the causal test that adds it."""
CRITERION_NAMES = {
    "nu": "latent scaling ν",
    "norm_minder": "norm: r < 1/6 or > 5/6",
    "norm_anthropic": "norm: r < 0.05 or > 0.95",
    "norm_reference": "norm: r < 0.3 or > 0.7",
}
SET_NAMES = {
    "best": "most selective latent",
    "before": "most selective before the reply",
    "reply": "most selective in the reply",
    "selective": "most selective latents",
    "it_only_best": "most selective IT-only latent",
    "it_only": "all IT-only latents",
}
PARTS = ("onset", "reply")
NO_ESTIMATE: dict[str, float | None] = {"value": None, "low": None, "high": None}


def causal_rows(result: Result) -> list[Row]:
    """One row per patch: latents in it, and by group of tokens what it removes of the KL."""
    return [
        {
            "name": name,
            "n_latents": result["patches"][patch]["n_latents"],
            "is_random": patch.startswith("random_"),
            **{
                f"{figure}_{group}": result["patches"][patch]["tokens"][group].get(
                    figure, NO_ESTIMATE
                )
                for group in ("first", "later")
                for figure in ("kl", "removed", "over_random")
            },
        }
        for patch, name in CAUSAL_NAMES.items()
        if patch in result["patches"]
    ]


def baseline_rows(result: Result) -> list[Row]:
    """One row per estimator of the difference: variance explained, L0, KL removed."""
    patches = result["causal"].get("patches", {})
    rows = []
    for estimator, name in BASELINE_NAMES.items():
        figures = result["explained"]["all"][estimator]
        patch = patches.get(BASELINE_PATCHES[estimator])
        tokens = patch["tokens"] if patch else {}
        rows.append(
            {
                "name": name,
                **{
                    key: figures.get(key, NO_ESTIMATE) for key in ("explained", "beyond_mean", "l0")
                },
                **{
                    group: tokens[group]["removed"] if group in tokens else NO_ESTIMATE
                    for group in ("first", "later")
                },
            }
        )
    return rows


def criterion_rows(result: Result) -> list[Row]:
    """One row per criterion: recall and false discovery rate of its exclusive verdicts."""
    return [
        {
            "name": name,
            **{
                f"{figure}_{frequency}": found[frequency][figure]
                for found in [result["criteria"][criterion]["exclusive"]["exclusive"]]
                for frequency in ("all", "common", "rare")
                for figure in ("recall", "fdr", "n_called")
            },
        }
        for criterion, name in CRITERION_NAMES.items()
    ]


def kind_rows(result: Result) -> list[Row]:
    """One row per planted kind: features, found, and rightly called by nu and by norms."""
    by_nu, by_norm = (result["criteria"][name]["kinds"] for name in ("nu", "norm_minder"))
    return [
        {
            "name": kind.replace("_", " "),
            **{key: of["all"][key] for key in ("n_features", "n_found")},
            "by_nu": of["all"]["recall"],
            "by_norm": by_norm[kind]["all"]["recall"],
        }
        for kind, of in by_nu.items()
    ]


def seed_rows(result: Result) -> list[Row]:
    """One row per pair of runs."""
    return [
        {
            "name": " and ".join(map(str, pair["runs"])),
            "mmcs": pair["mmcs"]["all"],
            "chance": pair["mmcs"]["all"]["rotated"],
            "above": pair["matched"]["share_above_0.9"],
            "agreement": pair["verdicts"]["agreement"],
            "kappa": pair["verdicts"]["kappa"],
            **{side: pair["subspaces"][side]["overlap"] for side in ("it_only", "base_only")},
        }
        for pair in result["pairs"]
    ]


def ablation_rows(result: Result) -> list[Row]:
    """One row per set of latents that is not empty: what taking it out of the IT model removes, on
    the planted reply's first token (onset) and on all of it, beside random sets."""
    rows = []
    for name, title in SET_NAMES.items():
        found = result["ablation"].get(name, {"n_latents": 0})
        if not found["n_latents"]:
            continue
        control = found["controls"].get("same_rate", {"n_draws": 0})
        rows.append(
            {
                "name": title,
                "n_latents": found["n_latents"],
                "latents": found["latents"][:8],
                "replies": found["greedy_rate_removed"],
                "cost": found["ordinary_loss_added_per_token"],
                **{part: found["effect_removed"][part] for part in PARTS},
                **{
                    f"random_{part}": control[part] if control["n_draws"] else NO_ESTIMATE
                    for part in PARTS
                },
                "p_value": control["onset"]["p_value"] if control["n_draws"] else None,
            }
        )
    return rows


def steering_rows(result: Result) -> list[Row]:
    """One row per steering: set, model, strength, what it adds, and what random sets add."""
    return [
        {
            "name": SET_NAMES.get(found["set"], found["set"]),
            "model": {"base": "base", "it": "IT"}[found["model"]],
            "factor": found["factor"],
            "replies": found["greedy_rate"],
            **{part: found["effect_added"][part] for part in PARTS},
            "random": found["control"]["onset"]["mean"],
            "p_value": found["control"]["onset"]["p_value"],
        }
        for found in result["steering"]
    ]
