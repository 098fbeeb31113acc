"""How well a sentence tells active from inactive examples.

Letters: E judged examples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.explain.result import Detection, Explanation, Means
from pipeline.results import NOT_MEASURED, Measured

ACTIVE, NEAR, OTHER = range(3)
"""Groups of judged examples: active, near misses, and other inactive ones."""
N_HALVINGS = 40
"""Of the range in which the end of an interval is looked for: to the last digits."""


@dataclass(frozen=True)
class Judgement:
    """odds_E: how surely the sentence holds of each example, higher for surer; is_called_E: of
    which it was said to hold."""

    odds_E: NDArray[np.float64]
    is_called_E: NDArray[np.bool_]


def detection(judged: Judgement, group_E: NDArray[np.int64], confidence: float) -> Detection:
    """The scores of a judgement of examples of these groups."""
    is_active_E = group_E == ACTIVE
    n = [int((group_E == group).sum()) for group in (ACTIVE, NEAR, OTHER)]
    called = [int(judged.is_called_E[group_E == group].sum()) for group in (ACTIVE, NEAR, OTHER)]
    kept = 1 - (called[NEAR] + called[OTHER]) / (n[NEAR] + n[OTHER])
    return {
        "score": (called[ACTIVE] / n[ACTIVE] + kept) / 2,
        "auc": auc(judged.odds_E[is_active_E], judged.odds_E[~is_active_E], confidence),
        "n_active": n[ACTIVE],
        "n_found": called[ACTIVE],
        "n_near": n[NEAR],
        "n_near_called": called[NEAR],
        "n_other": n[OTHER],
        "n_other_called": called[OTHER],
    }


def auc(active: NDArray[np.float64], silent: NDArray[np.float64], confidence: float) -> Measured:
    """How often an active example has the higher odds of the two, of a pair of an active and an
    inactive one; equal odds count half. That is the area under the ROC curve.

    The interval holds the areas that differ from the found one by no more than chance lets them,
    with the variance of Hanley and McNeil 1982 at each area, sizes averaged, as Newcombe 2006
    (method 5) has it: it stays within 0 and 1, and has a width where every pair is told rightly.
    """
    higher = active[:, None] > silent[None, :]
    value = float((higher + 0.5 * (active[:, None] == silent[None, :])).mean())
    low, high = _auc_interval(value, len(active), len(silent), confidence)
    return {"value": value, "low": low, "high": high}


def _auc_interval(found: float, m: int, n: int, confidence: float) -> tuple[float, float]:
    from scipy import special

    z, more = float(special.ndtri((1 + confidence) / 2)), (m + n) / 2 - 1

    def is_beyond_chance(area: float) -> bool:
        pairs = (1 - area) / (2 - area) + area / (1 + area)
        variance = area * (1 - area) * (1 + more * pairs) / (m * n)
        return abs(found - area) > z * math.sqrt(variance)

    return _boundary(is_beyond_chance, 0.0, found), _boundary(is_beyond_chance, 1.0, found)


def _boundary(is_out: Callable[[float], bool], out: float, within: float) -> float:
    """Between a number that is out, or the last one that can be, and one within: where it turns."""
    for _ in range(N_HALVINGS):
        middle = (out + within) / 2
        out, within = (middle, within) if is_out(middle) else (out, middle)
    return within


def means(explanations: Sequence[Explanation], confidence: float) -> Means:
    """The scores over all subjects that have them, beside those of another subject's sentence."""
    own = [one["detection"] for one in explanations if one["detection"]]
    pairs = [
        (one["detection"], one["control"])
        for one in explanations
        if one["detection"] and one["control"]
    ]
    return {
        "n_scored": len(own),
        "score": _mean([one["score"] for one in own], confidence),
        "auc": _mean([_area(one) for one in own], confidence),
        "n_controls": len(pairs),
        "control_score": _mean([other["score"] for _, other in pairs], confidence),
        "control_auc": _mean([_area(other) for _, other in pairs], confidence),
        "auc_above_control": _mean([_area(one) - _area(other) for one, other in pairs], confidence),
    }


def _area(found: Detection) -> float:
    value = found["auc"]["value"]
    assert value is not None
    return value


def _mean(values: Sequence[float], confidence: float) -> Measured:
    """The mean over subjects, and its interval by Student's t; none of fewer than two."""
    if not values:
        return NOT_MEASURED
    value = float(np.mean(values))
    if len(values) == 1:
        return {"value": value, "low": None, "high": None}
    from scipy import special

    t = float(special.stdtrit(len(values) - 1, (1 + confidence) / 2))
    error = t * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"value": value, "low": value - error, "high": value + error}
