"""A made-up `results/changes.json`."""

from pathlib import Path
from typing import Any

from pipeline.analysis.changes.result import Change, ChangeList
from pipeline.artifacts import write_json
from pipeline.results import Measured

KINDS = ("mean_shift", "new", "lost", "moved", "turned", "stronger", "weaker", "undecided")


def write_changes(results: Path, n: int, text: str = "a garden") -> ChangeList:
    """Write a list of `n` changes of all kinds in turn, strongest after `text`."""
    made_up: ChangeList = {
        "applicable": True,
        "fields": {},
        "confidence": 0.95,
        "min_share": 0.001,
        "max_false_discovery_rate": 0.05,
        "n_rows": 40_000,
        "n_found": n,
        "n_listed": n,
        "share_listed": 0.02 * n,
        "share_not_listed": 0.03,
        "share_left": 0.97 - 0.02 * n,
        "kinds": {},
        "changes": [
            one_change(rank, KINDS[(rank - 1) % len(KINDS)], text) for rank in range(1, n + 1)
        ],
    }
    write_json(results / "changes.json", made_up)
    return made_up


def _measured(value: float | None) -> Measured:
    low, high = (None, None) if value is None else (value * 0.9, value * 1.1)
    return {"value": value, "low": low, "high": high}


def one_change(rank: int, kind: str, text: str) -> Change:
    is_shift = kind == "mean_shift"
    value = None if is_shift else 0.5
    lens: Any = [] if is_shift else [(f" token{rank}", 3.0), (text, 2.0)]
    return {
        "rank": rank,
        "change": rank,
        "kind": kind,
        "likely_kind": "turned",
        "broad": False,
        "share": _measured(0.02),
        "p_share": 0.01,
        "q_share": 0.01,
        "p_kind": 0.01,
        "q_kind": 0.01,
        "cosine": _measured(value),
        "strength_ratio": _measured(value),
        "n_active": 900,
        "rate": 0.02,
        "common": value,
        "beta": value,
        "share_against": value,
        "n_effective": 30.0,
        "norm": 1.0,
        "norm_base": value,
        "norm_it": value,
        "made": _measured(value),
        "undone": _measured(value),
        "made_random": _measured(value),
        "latents": [{"latent": 3, "verdict": "shared", "correlation": 0.5, "cosine": 0.5}],
        "promotes_in_base": lens,
        "suppresses_in_base": lens,
        "promotes_in_it": lens,
        "suppresses_in_it": lens,
        "tokens": [] if is_shift else [(f" word{rank}", 0.6), (text, 0.3), (" rare", 0.01)],
        "sources": [] if is_shift else [("pile", 0.1), ("chat", 0.9)],
        "examples": []
        if is_shift
        else [
            {
                "document": 1,
                "sequence": 2,
                "position": 3,
                "strength": 4.0,
                "before": text,
                "token": f" word{rank}",
            }
        ],
    }
