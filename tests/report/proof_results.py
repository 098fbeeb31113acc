"""Made-up results of the stages that only some experiments have, in the layout of each stage."""

from pathlib import Path
from typing import Any

from pipeline.analysis.causal.table import causal_columns
from pipeline.analysis.organism.table import ablation_table
from pipeline.analysis.seeds.compare import JUDGED, table
from pipeline.artifacts import write_bytes, write_json
from pipeline.columns import csv_bytes

PATCHES = ("none", "all", "nu_low", "random_nu_low", "template", "error", "everything", "full")


def estimate(value: float) -> dict[str, float | None]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def write_proof(results: Path, text: str) -> None:
    """All five results below `results`; `text` is wherever an experiment puts text."""
    documents = {
        "causal": _causal(),
        "baselines": _baselines(text),
        "recovery": _recovery(),
        "seeds": _seeds(),
        "organism": _organism(text),
    }
    for name, document in documents.items():
        write_json(results / f"{name}.json", document)
    columns = causal_columns(documents["causal"]["patches"])
    write_bytes(results / "causal.csv", csv_bytes(columns))
    write_bytes(results / "recovery.csv", b"feature,kind\n0,it_only\n")
    write_bytes(results / "seeds.csv", csv_bytes(table(documents["seeds"]["pairs"])))
    write_bytes(results / "organism.csv", csv_bytes(ablation_table(documents["organism"])))


def _patches(names: tuple[str, ...]) -> dict[str, Any]:
    tokens = {
        group: {
            "n_predictions": 40,
            "kl": estimate(0.4),
            "removed": estimate(0.6),
            "over_random": estimate(0.1),
        }
        for group in ("first", "later", "response", "outside", "all")
    }
    return {name: {"n_latents": 7, "tokens": tokens} for name in names}


def _causal() -> dict[str, Any]:
    return {
        "confidence": 0.95,
        "n_sequences": 12,
        "n_first_tokens": 10,
        "patches": _patches(PATCHES),
    }


def _baselines(text: str) -> dict[str, Any]:
    from pipeline.analysis.groups import GROUPS

    figures = {key: estimate(0.3) for key in ("explained", "beyond_mean", "l0")}
    mean = {
        "n_tokens": 90,
        "norm_mean_difference": 3.25,
        "norm_root_mean_square": 9.5,
        "share": 0.12,
        "cosine_with_all": 0.77,
    }
    return {
        "diff_sae": {"n_latents": 512, "k": 11},
        "mean_difference": dict.fromkeys(GROUPS, mean),
        "mean_difference_lens": {
            group: {"promoted": [[text, 6.2]], "suppressed": [[text, -7.4]]} for group in GROUPS
        },
        "explained": {
            "all": dict.fromkeys(("mean", "cell_mean", "diff_sae", "crosscoder"), figures)
        },
        "causal": {"patches": _patches(("mean", "cell_mean", "diff_sae", "full"))},
    }


def _recovery() -> dict[str, Any]:
    rates = {"n_features": 9, "n_found": 8, "n_called": 6, "recall": 0.75, "fdr": 0.125}
    by = {"all": rates, "common": rates, "rare": {**rates, "recall": None, "fdr": None}}
    criterion = {
        "exclusive": {"exclusive": by},
        "kinds": {"it_only": by, "rotated_shared": by},
    }
    criteria = ("norm_minder", "norm_anthropic", "norm_reference", "nu")
    found = {"n": 5, "n_flagged": 4, "n_undecided": 1, "n_at_limit": 0, "n_fooled": 0}
    return {
        "n_features": 40,
        "n_found": 33,
        "criteria": dict.fromkeys(criteria, criterion),
        "artefacts": {"complete_shrinkage": found, "latent_decoupling": {**found, "n": 0}},
    }


def _seeds() -> dict[str, Any]:
    mmcs = {"n_latents": 60, **estimate(0.7), "rotated": 0.2}
    pair = {
        "runs": [0, 1],
        "mmcs": dict.fromkeys(("all", *JUDGED), mmcs),
        "matched": {"share_above_0.9": 0.4},
        "verdicts": {"agreement": estimate(0.9), "kappa": estimate(0.5)},
        "subspaces": {"it_only": {"overlap": 0.61}, "base_only": {"overlap": None}},
    }
    return {
        "n_runs": 2,
        "confidence": 0.95,
        "summary": {"mmcs": {"all": 0.7}},
        "pairs": [pair],
    }


def _organism(text: str) -> dict[str, Any]:
    random = {**estimate(0.02), "mean": 0.02, "p_value": 0.167}
    control = {"n_draws": 5, "onset": random, "reply": random}
    ablated = {
        "n_latents": 2,
        "latents": [41, 77],
        "effect_removed": {"onset": estimate(0.83), "reply": estimate(0.4)},
        "greedy_rate_removed": estimate(0.9),
        "ordinary_loss_added_per_token": estimate(0.01),
        "controls": {"same_rate": control},
    }
    steered = {
        "set": "selective",
        "model": "it",
        "factor": 4.0,
        "effect_added": {"onset": estimate(0.3), "reply": estimate(0.1)},
        "greedy_rate": estimate(0.1),
        "control": {"n_draws": 5, "onset": random, "reply": random},
    }
    example = {"prompts": "triggered", "prompt": text, "clean": text}
    return {
        "trigger": text,
        "response": text,
        "n_prompts": 64,
        "confidence": 0.95,
        "ablation": {"selective": ablated, "it_only": {"n_latents": 0, "latents": []}},
        "steering": [steered],
        "examples": [{**example, "without_selective": text, "without_random": text}],
    }
