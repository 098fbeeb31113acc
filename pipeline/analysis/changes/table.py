"""The list: what was judged, measured and read, as one record per listed change.

Letters: J changes, M models, D d_model.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import special

from pipeline.analysis.changes.judge import Judgement
from pipeline.analysis.changes.lines import BASE, IT
from pipeline.analysis.changes.measure import Changes, ChangeSums
from pipeline.analysis.changes.result import FIELDS, Change, ChangeList
from pipeline.analysis.changes.surroundings import Surroundings
from pipeline.config.changes import ChangesConfig
from pipeline.results import NOT_MEASURED, Measured

if TYPE_CHECKING:
    import pandas as pd

MAX_LOG = 700.0
"""Of a strength ratio's interval: beyond it exp overflows."""
DIRECTIONS = {
    "direction": "[d_model] unit vector of the difference",
    "direction_base": "[d_model] u_base: least-squares vector of base's rows on the change's "
    "activity; null for a shift",
    "direction_it": "[d_model] u_it",
}
"""Columns of the table alone."""


def order(judgement: Judgement) -> list[int]:
    """Numbers of the listed changes, by falling share."""
    listed = np.flatnonzero(judgement.listed)
    return [int(j) for j in listed[np.argsort(-judgement.share[listed], kind="stable")]]


def entry(
    rank: int,
    change: int,
    judgement: Judgement,
    sums: ChangeSums,
    beside: Surroundings,
    section: ChangesConfig,
    *,
    broad: bool,
) -> Change:
    """The record of one listed change."""
    spread = partial(_spread, judgement, change, section.confidence)
    n_active = sums.n_active_GJ[:, change].sum()
    norm = float(np.sqrt(sums.square_GJ[:, change].sum() / max(1.0, n_active)))
    weight = beside.weight
    return Change(
        rank=rank,
        change=change,
        kind=str(judgement.kind[change]),
        likely_kind=str(judgement.likely_kind[change]),
        broad=broad,
        share=spread("share"),
        p_share=float(judgement.p_share[change]),
        q_share=float(judgement.q_share[change]),
        cosine=spread("cosine", lambda value: min(1.0, max(-1.0, value))),
        strength_ratio=spread("log_strength", lambda value: math.exp(min(value, MAX_LOG))),
        common=_known(float(judgement.common[change])),
        beta=_known(float(judgement.beta[change])),
        share_against=_known(float(judgement.share_against[change])),
        p_kind=float(judgement.p_kind[change]),
        q_kind=float(judgement.q_kind[change]),
        n_active=int(n_active),
        rate=float(n_active / sums.n_G.sum()),
        n_effective=float(judgement.degrees[change]) + 1,
        norm=norm,
        norm_base=_written_norm(sums, change, BASE, norm),
        norm_it=_written_norm(sums, change, IT, norm),
        made=weight.made if weight else NOT_MEASURED,
        undone=weight.undone if weight else NOT_MEASURED,
        made_random=weight.made_random if weight else NOT_MEASURED,
        latents=beside.latents,
        promotes_in_base=beside.lens.get("promotes_in_base", []),
        suppresses_in_base=beside.lens.get("suppresses_in_base", []),
        promotes_in_it=beside.lens.get("promotes_in_it", []),
        suppresses_in_it=beside.lens.get("suppresses_in_it", []),
        tokens=beside.tokens,
        sources=beside.sources,
        examples=beside.examples,
    )


def _spread(
    judgement: Judgement,
    change: int,
    confidence: float,
    name: str,
    figure: Callable[[float], float] = float,
) -> Measured:
    """A figure with its interval, by Student's t; `figure` maps what was tested to what is told."""
    value, error = (float(vars(judgement)[n][change]) for n in (name, f"{name}_error"))
    degrees = max(float(judgement.degrees[change]), 1e-3)
    half = float(special.stdtrit(degrees, (1 + confidence) / 2)) * error
    if not math.isfinite(value + half):
        return NOT_MEASURED
    low, high = figure(value - half), figure(value + half)
    return {"value": figure(value), "low": low, "high": high}


def summary(
    changes: Sequence[Change], judgement: Judgement, sums: ChangeSums, section: ChangesConfig
) -> ChangeList:
    """`results/changes.json`."""
    total = float(sums.total_G.sum())
    left = float(sums.left_G.sum()) / total if total > 0 else None
    listed = float(sum(change["share"]["value"] or 0.0 for change in changes))
    return {
        "applicable": True,
        "fields": FIELDS,
        "confidence": section.confidence,
        "min_share": section.min_share,
        "max_false_discovery_rate": section.max_false_discovery_rate,
        "n_rows": int(sums.n_G.sum()),
        "n_found": len(judgement.share) - 2,
        "n_listed": len(changes),
        "share_listed": listed,
        "share_not_listed": None if left is None else max(0.0, 1 - left - listed),
        "share_left": left,
        "kinds": {
            kind: sum(change["kind"] == kind for change in changes)
            for kind in sorted({change["kind"] for change in changes})
        },
        "changes": list(changes),
    }


def frame(entries: Sequence[Change], changes: Changes, sums: ChangeSums) -> "pd.DataFrame":
    """`results/changes.parquet`: one row per entry, the fields that are single figures, and
    DIRECTIONS."""
    import pandas as pd

    table = pd.DataFrame([_row(entry) for entry in entries])
    vectors = [_directions(entry["change"], changes, sums) for entry in entries]
    return table.assign(**{name: [of[name] for of in vectors] for name in DIRECTIONS})


def _row(entry: Change) -> dict[str, Any]:
    """The single figures: one with an interval becomes three columns, lists are left out."""
    row: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            row |= {
                name: value["value"],
                f"{name}_low": value["low"],
                f"{name}_high": value["high"],
            }
        elif not isinstance(value, list):
            row[name] = value
    return row


def _directions(change: int, changes: Changes, sums: ChangeSums) -> dict[str, list[float] | None]:
    if change >= changes.n:
        shift_D = torch.nn.functional.normalize(changes.lines.shift_D, dim=0)
        is_mean = change == changes.n
        return dict.fromkeys(DIRECTIONS) | {"direction": shift_D.tolist() if is_mean else None}
    effort = max(sums.written.effort_GJ[:, change].sum(), 1e-30)
    base_D, it_D = (
        sums.written.written_GJMD[:, change, m].sum(axis=0) / effort for m in (BASE, IT)
    )
    direction_D = changes.direction_JD[change].tolist()
    return {
        "direction": direction_D,
        "direction_base": base_D.tolist(),
        "direction_it": it_D.tolist(),
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _written_norm(sums: ChangeSums, change: int, model: int, norm: float) -> float | None:
    """|u_m| times the change's norm: the length of what model m writes for it."""
    if change >= sums.written.effort_GJ.shape[1]:
        return None
    effort = max(float(sums.written.effort_GJ[:, change].sum()), 1e-30)
    written_D = sums.written.written_GJMD[:, change, model].sum(axis=0)
    return _known(float(np.linalg.norm(written_D)) / effort * norm)
