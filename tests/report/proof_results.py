"""Made-up results of the stages that only some experiments have, in the types of each stage."""

from pathlib import Path

from pipeline.analysis.baselines.result import (
    Baselines,
    Explained,
    ExplainedOn,
    Position,
    PositionRead,
)
from pipeline.analysis.causal.result import Causal, CausalFigures, Patches
from pipeline.analysis.causal.table import causal_columns
from pipeline.analysis.explain.result import Detection, Explanation, Explanations, Means
from pipeline.analysis.groups import Cells
from pipeline.analysis.organism.chart import ablation_table
from pipeline.analysis.organism.result import Behaved, Organism, RandomEffect, SteeredAtRandom
from pipeline.analysis.parting.result import Carrier, Parting, Source, Token
from pipeline.analysis.recovery.result import ArtefactScores, CriterionScores, Rates, Recovery
from pipeline.analysis.seeds.compare import JUDGED, summary, table
from pipeline.analysis.seeds.result import Agreement, Mmcs, Overlap, Pair, Seeds
from pipeline.analysis.steering.result import CONDITIONS, Replies, Steered, Steering, Written
from pipeline.artifacts import write_bytes, write_json
from pipeline.columns import csv_bytes
from pipeline.results import Measured

PATCHES = ("none", "all", "nu_low", "random_nu_low", "template", "error", "everything", "full")


def _explanations(text: str) -> Explanations:
    detection: Detection = {
        "score": 0.75,
        "auc": estimate(0.75),
        "n_active": 10,
        "n_found": 8,
        "n_near": 5,
        "n_near_called": 2,
        "n_other": 5,
        "n_other_called": 1,
    }
    one: Explanation = {
        "kind": "change",
        "number": 1,
        "explanation": text,
        "detection": detection,
        "control": detection,
        "reason": "",
    }
    none: Explanation = {**one, "explanation": None, "detection": None, "reason": "too few"}
    none["control"] = None
    means: Means = {
        "n_scored": 2,
        "score": estimate(0.75),
        "auc": estimate(0.75),
        "n_controls": 2,
        "control_score": estimate(0.75),
        "control_auc": estimate(0.75),
        "auc_above_control": estimate(0.0),
    }
    return {
        "applicable": True,
        "writer": text,
        "n_answers": 4,
        "n_tokens": 900,
        "judged_by": "likelihood",
        "confidence": 0.95,
        "means": means,
        "explanations": [one, {**one, "kind": "latent", "number": 5}, {**none, "number": 2}],
    }


def _steering(text: str) -> Steering:
    written: Written = {"greedy": text, "samples": [text]}
    replies: Replies = {"triggered": estimate(0.75), "untriggered": estimate(0.0)}
    steered: Steered = {
        "model": "it",
        "condition": "added",
        "factor": 2.0,
        "texts": [written],
        "random": [written],
        "replies": replies,
        "random_replies": replies,
    }
    return {
        "applicable": True,
        "conditions": CONDITIONS,
        "prompts": [text],
        "n_tokens": 8,
        "temperature": 1.0,
        "n_planted": 32,
        "confidence": 0.95,
        "clean": [
            {"model": model, "texts": [written], "replies": replies} for model in ("base", "it")
        ],
        "subjects": [
            {"kind": "change", "number": 1, "steered": [steered, {**steered, "factor": None}]},
            {"kind": "position", "number": 2, "steered": [steered]},
        ],
    }


def _parting(text: str) -> Parting:
    carrier: Carrier = {
        "number": 1,
        "attribution": 1.25,
        "patch": 1.5,
        "random": 0.01,
        "at": 9,
        "on": text,
    }
    token: Token = {
        "sequence": 70,
        "position": 12,
        "before": text,
        "token": text,
        "follows": text,
        "kl": 2.5,
        "from_below": 2.0,
        "attributed": 1.9,
        "expected_by_it": [(text, 0.9)],
        "expected_by_base": [(" the", 0.3), (text, 0.1)],
        "changes": [carrier, {**carrier, "number": 2, "patch": -0.5}],
        "latents": [{**carrier, "number": 5}],
    }
    source: Source = {
        "name": "chat",
        "n_tokens": 900,
        "kl": estimate(0.25),
        "quantiles": {"0.5": 0.1, "0.9": 0.6, "0.99": 2.0},
        "top_share": 0.3,
        "tokens": [token, {**token, "position": 40, "changes": [], "latents": []}],
    }
    return {
        "applicable": True,
        "confidence": 0.95,
        "n_sequences": 12,
        "path_points": 8,
        "min_kl": 0.1,
        "sources": [source, {**source, "name": "pile", "tokens": []}],
        "of_changes": {"n": 2, "correlation": None},
        "of_latents": {"n": 4, "correlation": 0.98},
    }


def estimate(value: float) -> Measured:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def write_proof(results: Path, text: str) -> None:
    """All seven results below `results`; `text` is wherever an experiment puts text."""
    causal, seeds, organism = _causal(), _seeds(), _organism(text)
    write_json(results / "causal.json", causal)
    write_json(results / "baselines.json", _baselines(text))
    write_json(results / "recovery.json", _recovery())
    write_json(results / "seeds.json", seeds)
    write_json(results / "organism.json", organism)
    write_json(results / "steering.json", _steering(text))
    write_json(results / "explanations.json", _explanations(text))
    write_json(results / "parting.json", _parting(text))
    write_bytes(results / "causal.csv", csv_bytes(causal_columns(causal["patches"])))
    write_bytes(results / "seeds.csv", csv_bytes(table(seeds["pairs"])))
    write_bytes(results / "organism.csv", csv_bytes(ablation_table(organism["ablation"])))


def _patches(names: tuple[str, ...]) -> Patches:
    figures: CausalFigures = {
        "n_predictions": 40,
        "kl": estimate(0.4),
        "removed": estimate(0.6),
        "over_random": estimate(0.1),
    }
    groups = ("first", "later", "response", "outside", "all")
    return {name: {"n_latents": 7, "tokens": dict.fromkeys(groups, figures)} for name in names}


def _causal() -> Causal:
    return {
        "units": {},
        "sets": {},
        "confidence": 0.95,
        "n_sequences": 12,
        "n_first_tokens": 10,
        "n_draws": 3,
        "controls": {"kl_of_everything": 0.0, "kl_of_none": 0.4},
        "patches": _patches(PATCHES),
    }


def _baselines(text: str) -> Baselines:
    figures: Explained = {
        "explained": estimate(0.3),
        "beyond_mean": estimate(0.3),
        "l0": estimate(0.3),
    }
    explained: ExplainedOn = {
        "n_tokens": 90,
        "mean": {"explained": estimate(0.3)},
        "cell_mean": {"explained": estimate(0.3), "beyond_mean": estimate(0.3)},
        "crosscoder": figures,
        "diff_sae": figures,
    }
    return {
        "units": {},
        "confidence": 0.95,
        "diff_sae": {"n_latents": 512, "k": 11},
        "mean_difference": {
            group: {
                "n_tokens": 90,
                "norm_mean_base": 3.0,
                "norm_mean_it": 4.0,
                "norm_mean_difference": 3.25,
                "norm_root_mean_square": 9.5,
                "cosine_means": 0.9,
                "cosine_with_all": 0.77,
                "share": 0.12,
            }
            for group in Cells(("pile", "chat")).groups
        },
        "mean_difference_lens": {
            group: {"promoted": [(text, 6.2)], "suppressed": [(text, -7.4)]}
            for group in Cells(("pile", "chat")).groups
        },
        "positions": {
            "n_documents": 900,
            "n_draws": 50,
            "planted_words": [text],
            "positions": [_position(number, text) for number in (1, 2)],
        },
        "explained": {"all": explained},
        "causal": {
            "units": {},
            "n_sequences": 12,
            "patches": _patches(("mean", "cell_mean", "diff_sae", "full")),
        },
    }


def _position(number: int, text: str) -> Position:
    read: PositionRead = {
        "words": [text],
        "random_mean": 0.25,
        "random_highest": 2,
        "p_value": 0.02,
    }
    return {
        "position": number,
        "norm_difference": 3.5,
        "norm_root_mean_square": 7.25,
        "norm_base": 30.0,
        "norm_it": 31.0,
        "promotes_in_base": [(text, 6.5)],
        "suppresses_in_base": [(text, -6.5)],
        "promotes_in_it": [(text, 7.5)],
        "suppresses_in_it": [(text, -7.5)],
        "read": {"base": read, "it": read},
    }


def _recovery() -> Recovery:
    rates: Rates = {
        "n_features": 9,
        "n_found": 8,
        "n_recalled": 7,
        "n_called": 6,
        "n_false": 1,
        "n_border": 0,
        "recall": 0.75,
        "precision": 0.875,
        "f1": 0.8,
        "fdr": 0.125,
        "fdr_strict": 0.125,
    }
    rare: Rates = {**rates, "recall": None, "fdr": None}
    by = {"all": rates, "common": rates, "rare": rare}
    scores: CriterionScores = {
        "exclusive": {"exclusive": by},
        "kinds": {"it_only": by, "rotated_shared": by},
    }
    found: ArtefactScores = {
        "n": 5,
        "n_flagged": 4,
        "n_undecided": 1,
        "n_at_limit": 0,
        "n_fooled": 0,
        "share_flagged": 0.8,
        "share_flagged_beyond": 0.8,
    }
    criteria = ("norm_minder", "norm_anthropic", "norm_reference", "nu")
    return {
        "n_features": 40,
        "n_found": 33,
        "n_latents_without_feature": 2,
        "criteria": dict.fromkeys(criteria, scores),
        "verdicts": {
            "kinds": {"turned": by, "shared": by},
            "confusion": {"turned": {"turned": 7, "shared": 1, "not found": 1}},
            "n_wrong": 1,
        },
        "artefacts": {"complete_shrinkage": found, "latent_decoupling": {**found, "n": 0}},
        "gains": {},
    }


def _seeds() -> Seeds:
    mmcs: Mmcs = {"n_latents": 60, "rotated": 0.2, **estimate(0.7)}
    verdicts: Agreement = {
        "n_pairs": 60,
        "agreement": estimate(0.9),
        "kappa": estimate(0.5),
        "counts": {},
    }
    overlap: Overlap = {
        "n_latents": [3, 3],
        "rank": [3, 3],
        "overlap": 0.61,
        "random": {"mean": 0.2, "low": 0.1, "high": 0.3},
        "principal_angles_degrees": [],
    }
    pair: Pair = {
        "runs": [0, 1],
        "n_live": [60, 60],
        "mmcs": dict.fromkeys(("all", *JUDGED), mmcs),
        "matched": {
            "n_pairs": 60,
            "mean_cosine": 0.7,
            "share_above_0.9": 0.4,
            "share_above_0.7": 0.6,
        },
        "verdicts": verdicts,
        "verdicts_where_cosine_above_0.7": verdicts,
        "subspaces": {"it_only": overlap, "base_only": {**overlap, "overlap": None}},
    }
    return {
        "applicable": True,
        "n_runs": 2,
        "confidence": 0.95,
        "columns": {},
        "summary": summary([pair]),
        "pairs": [pair],
    }


def _organism(text: str) -> Organism:
    random: RandomEffect = {**estimate(0.02), "lowest": 0.0, "highest": 0.1, "p_value": 0.167}
    behaved: Behaved = {
        "onset_log_prob": estimate(-1),
        "log_prob": estimate(-3),
        "log_prob_per_token": estimate(-0.5),
        "greedy_rate": estimate(0.1),
    }
    at_random: SteeredAtRandom = {"mean": 0.02, "lowest": 0.0, "highest": 0.1, "p_value": 0.167}
    found: Organism = {
        "applicable": True,
        "trigger": text,
        "response": text,
        "n_prompts": 64,
        "n_greedy_tokens": 3,
        "confidence": 0.95,
        "n_exchanges": {"choosing": 32, "testing": 32},
        "tuning": {"it": dict.fromkeys(("triggered", "untriggered", "ordinary"), behaved)},
        "trigger_effect": {"it": {"onset": estimate(5.0), "reply": estimate(9.0)}},
        "latents": [],
        "ablation": {
            "selective": {
                "n_latents": 2,
                "latents": [41, 77],
                "triggered": behaved,
                "untriggered": behaved,
                "ordinary": behaved,
                "effect_removed": {"onset": estimate(0.83), "reply": estimate(0.4)},
                "greedy_rate_removed": estimate(0.9),
                "ordinary_loss_added_per_token": estimate(0.01),
                "controls": {
                    "same_rate": {
                        "n_draws": 5,
                        "greedy_rate": 0.1,
                        "onset": random,
                        "reply": random,
                    }
                },
            },
            "it_only": {"n_latents": 0, "latents": []},
        },
        "steering": [
            {
                **behaved,
                "set": "selective",
                "model": "it",
                "factor": 4.0,
                "norm_opening": 1.0,
                "norm_reply": 1.0,
                "effect_added": {"onset": estimate(0.3), "reply": estimate(0.1)},
                "control": {"n_draws": 5, "onset": at_random, "reply": at_random},
            }
        ],
        "examples": [
            {
                "prompts": "triggered",
                "prompt": text,
                "clean": text,
                "without_selective": text,
                "without_random": text,
            }
        ],
        "glossary": {},
    }
    found["twin"] = {
        "tuning": dict.fromkeys(("triggered", "untriggered", "ordinary"), behaved),
        "trigger_effect": {"onset": estimate(0.01), "reply": estimate(0.02)},
        "latents": found["latents"],
        "ablation": found["ablation"],
        "steering": found["steering"],
        "examples": found["examples"],
    }
    return found
