"""The study of known edits in one table: the scores of all pairs pooled, with intervals over seeds.

Letters: S seeds, K sums.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats
from typing_extensions import TypedDict

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.edits.result import EditScores, Scored
from pipeline.columns import Table, table_of
from pipeline.results import Measured
from pipeline.validation.scores import Aim, aimed

CHOSEN = "changes"
RATES = {
    "recall_n": ("recovered_n", "n"),
    "recall_more": ("recovered_more", "n"),
    "recall": ("recovered", "n"),
    "false": ("false", "n_entries"),
    "duplicates": ("duplicates", "n_entries"),
    "kinds": ("kinds_right", "kinds_judged"),
}
"""Rate -> the counts whose ratio it is."""
ABOUT = {
    "methods": "method -> rate -> value, low, high (bootstrap over seeds), count, of",
    "recall_n, recall_more, recall": "edits of at least 0.5 % of the difference that are named "
    "among the first N entries, the first 1.5 N, and all; N: their number in the pair",
    "false, duplicates": "entries of the whole list that match no edit, and that show one again",
    "kinds": "named edits, well inside their kind, whose entry says it; undecided counts as wrong",
    "cosine": "of a named edit's direction with the true effect: 5 %, 50 % and 95 % quantile",
    "strengths": "of the chosen list; form and strength -> edits made, wanted (large enough to be "
    "named), named of the wanted, named of all, median share of the difference",
    "controls": "edits that both models have or none has, listed, and the upper Clopper-Pearson "
    "limit of the rate",
    "nulls": "kind of null pair -> lists that are not empty, of how many, and the upper limit",
}


class Rate(Measured):
    """A ratio of counts pooled over seeds."""

    count: int
    of: int


class MethodScores(TypedDict):
    """One method over all pairs. cosine: None where nothing was named"""

    rates: dict[str, Rate]
    cosine: list[float] | None


class Strength(TypedDict):
    """Edits of one form and strength, and what the chosen list named of them."""

    form: str
    strength: float
    made: int
    wanted: int
    named_of_wanted: int
    named: int
    median_share: float


class Limited(TypedDict):
    """A count that ought to be zero, and the upper limit of its rate."""

    count: int
    of: int
    high: float


class EditStudy(TypedDict):
    """`results/edit_study.json`; `about` explains it."""

    about: dict[str, str]
    confidence: float
    seeds: list[int]
    methods: dict[str, MethodScores]
    strengths: list[Strength]
    controls: Limited
    nulls: dict[str, Limited]
    targets: list[Aim]


def method_scores(pairs: Sequence[EditScores], bootstrap: Bootstrap) -> dict[str, MethodScores]:
    """Method -> its scores over all pairs."""
    return {
        name: _pooled([pair["methods"][name] for pair in pairs], bootstrap)
        for name in pairs[0]["methods"]
    }


def _pooled(scores: Sequence[Scored], bootstrap: Bootstrap) -> MethodScores:
    cosines = [cosine for score in scores for cosine in score["cosines"]]
    return {
        "rates": {
            rate: _rate(
                [score[count] for score in scores], [score[of] for score in scores], bootstrap
            )
            for rate, (count, of) in RATES.items()
        },
        "cosine": np.quantile(cosines, [0.05, 0.5, 0.95]).round(4).tolist() if cosines else None,
    }


def _rate(count_S: Sequence[int], of_S: Sequence[int], bootstrap: Bootstrap) -> Rate:
    estimate = bootstrap.ratio(np.array(count_S, float), np.array(of_S, float))
    return {**estimate, "count": sum(count_S), "of": sum(of_S)}


def by_strength(pairs: Sequence[EditScores]) -> list[Strength]:
    """What the chosen list named, by form and strength, the strongest first."""
    groups: dict[tuple[str, float], list[tuple[bool, bool, float]]] = defaultdict(list)
    for pair in pairs:
        named = {found["edit"] for found in pair["methods"][CHOSEN]["named"] if found["is_new"]}
        for number, edit in enumerate(pair["edits"]):
            of_edit = (edit["wanted"], number in named, edit["share"])
            groups[edit["form"], edit["strength"]].append(of_edit)
    found: list[Strength] = []
    for (form, strength), edits in sorted(groups.items()):
        wanted, named, share = (list(column) for column in zip(*edits, strict=True))
        found.append(
            {
                "form": form,
                "strength": strength,
                "made": len(edits),
                "wanted": sum(wanted),
                "named_of_wanted": sum(w and n for w, n in zip(wanted, named, strict=True)),
                "named": sum(named),
                "median_share": float(np.median(share)),
            }
        )
    return found


def limited(count: int, of: int, confidence: float) -> Limited:
    """A count with the upper end of the Clopper-Pearson interval of its rate, one-sided."""
    high = 1.0 if count == of else float(stats.beta.ppf(confidence, count + 1, of - count))
    return {"count": count, "of": of, "high": high}


def controls(pairs: Sequence[EditScores], confidence: float) -> Limited:
    """Of the chosen list."""
    listed = sum(len(pair["methods"][CHOSEN]["controls_listed"]) for pair in pairs)
    return limited(listed, sum(len(pair["controls"]) for pair in pairs), confidence)


def aims(
    chosen: MethodScores, nulls: Mapping[str, Limited], max_false: float, max_null_rate: float
) -> list[Aim]:
    """The aims for the chosen list."""
    rates = chosen["rates"]
    return [
        aimed("edits named within 1.5 N entries", 0.95, rates["recall_more"]["value"]),
        aimed("kinds right", 0.9, rates["kinds"]["value"]),
        aimed("false entries", max_false, rates["false"]["value"], at_most=True),
        *(
            aimed(
                f"lists of null pairs ({name}) that are not empty",
                0.0 if name == "same" else max_null_rate,
                null["count"] / null["of"],
                at_most=True,
            )
            for name, null in nulls.items()
        ),
    ]


COLUMNS = ("method", "rate", "value", "low", "high", "count", "of")


def method_table(methods: Mapping[str, MethodScores]) -> Table:
    """`results/edit_study.csv`: one row per method and rate."""
    rows = [
        {"method": method, "rate": name, **rate}
        for method, scores in methods.items()
        for name, rate in scores["rates"].items()
    ]
    return table_of(rows, COLUMNS)
