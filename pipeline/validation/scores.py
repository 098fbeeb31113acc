"""The validation in one table: what planted truth, null pairs and other seeds say of the verdicts.

Letters: S seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy import special
from typing_extensions import TypedDict

from pipeline.analysis.decoders.geometry import EXCLUSIVE_BINS, IN_BOTH
from pipeline.columns import Table, table_of

Json = dict[str, Any]
NORM_BINS, NU = "norm_bins", "nu"
CRITERIA = {NORM_BINS: "norm_minder", NU: "nu"}
"""Name here -> name in `recovery.json`; norm bins by Minder's criterion, r < 1/6, > 5/6."""
MEASURES = ("recall", "precision", "f1", "fdr", "fdr_strict")
MIN_RECALL = 0.8
"""Aimed at for each kind of change, of the features that fire often."""
ABOUT = {
    "variants": "variant -> verdicts -> base_only, it_only or exclusive (both) -> frequency -> "
    "norm_bins or nu -> measure; and kinds -> kind -> frequency -> the same. A measure is the mean "
    "over seeds with the ends of its interval (Student's t over seeds, cut at 0 and 1) and the "
    "values of the single seeds; null where nothing was to be found or called",
    "verdicts": "recall of planted features, precision and false discovery rate of latents called "
    "so, those that stand for no feature included",
    "kinds": "recall of the kind's features; precision and fdr of the verdicts given to latents "
    "that stand for one of them",
    "changes": "variant -> changes -> kinds -> verdict -> frequency -> measure: recall of the "
    "features of the kind, false discoveries of the verdict; confusion: planted kind -> verdict, "
    "undecided, dead or not found -> features, summed over seeds; n_wrong: features with a verdict "
    "of another kind, share_wrong: of all features with a verdict of some kind",
    "frequency": "all; common (at least recovery.common_rate) and rare; each decade of the rate",
    "fdr_strict": "fdr with latents of features just below the limit counted as false",
    "nulls": "pairing -> variant -> latents called base_only and it_only, all of them false",
    "artefacts": "latents that norms call exclusive although their feature is shared, and how many "
    "of these nu calls shared (flagged), leaves open, or is fooled by, summed over seeds; "
    "n_at_limit of the open ones have a true nu within a quarter of the limit, and "
    "share_flagged_beyond leaves these out; share_unconfirmed counts all that it is not fooled by",
}


class Aim(TypedDict):
    """What a study aims at, and whether it was reached."""

    target: str
    aim: float
    reached: float | None
    met: bool


def interval(values: Sequence[float | None], confidence: float) -> Json:
    """Mean over seeds, ends of its t interval within [0, 1], and the values themselves."""
    known = [value for value in values if value is not None]
    if not known:
        return {"value": None, "low": None, "high": None, "seeds": list(values)}
    n, mean = len(known), sum(known) / len(known)
    if n == 1:
        return {"value": mean, "low": None, "high": None, "seeds": list(values)}
    variance = sum((value - mean) ** 2 for value in known) / (n - 1)
    reach = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * (variance / n) ** 0.5
    return {
        "value": mean,
        "low": max(0.0, mean - reach),
        "high": min(1.0, mean + reach),
        "seeds": list(values),
    }


def combined(recoveries: Sequence[Json], confidence: float) -> Json:
    """One variant's `recovery.json` of every seed as means with intervals."""
    return {
        "verdicts": _nested(recoveries, "exclusive", confidence),
        "kinds": _nested(recoveries, "kinds", confidence),
        "changes": _changes([recovery["verdicts"] for recovery in recoveries], confidence),
        "artefacts": _summed(recovery["artefacts"] for recovery in recoveries),
        "gains": recoveries[0]["gains"],
    }


def _changes(scores: Sequence[Json], confidence: float) -> Json:
    """One variant's `verdicts` of every seed: rates as means with intervals, counts summed."""
    confusion: dict[str, dict[str, int]] = {}
    for score in scores:
        for kind, verdicts in score["confusion"].items():
            row = confusion.setdefault(kind, {})
            for verdict, n in verdicts.items():
                row[verdict] = row.get(verdict, 0) + n
    n_wrong = sum(score["n_wrong"] for score in scores)
    n_named = n_wrong + sum(row.get(kind, 0) for kind, row in confusion.items())
    return {
        "kinds": {
            kind: {
                frequency: _measures([s["kinds"][kind].get(frequency) for s in scores], confidence)
                for frequency in frequencies
            }
            for kind, frequencies in scores[0]["kinds"].items()
        },
        "confusion": confusion,
        "n_wrong": n_wrong,
        "share_wrong": n_wrong / n_named if n_named else None,
    }


def _nested(recoveries: Sequence[Json], part: str, confidence: float) -> Json:
    """class or kind -> frequency -> norm_bins or nu -> measure, counts summed over seeds."""
    first = recoveries[0]["criteria"][CRITERIA[NU]][part]
    return {
        name: {
            frequency: {
                ours: _measures(
                    [r["criteria"][theirs][part][name].get(frequency) for r in recoveries],
                    confidence,
                )
                for ours, theirs in CRITERIA.items()
            }
            for frequency in frequencies
        }
        for name, frequencies in first.items()
    }


def _measures(counts: Sequence[Json | None], confidence: float) -> Json:
    known = [count for count in counts if count is not None]
    sums = {name: sum(c[name] for c in known) for name in known[0] if name.startswith("n_")}
    return sums | {
        name: interval([None if c is None else c[name] for c in counts], confidence)
        for name in MEASURES
    }


def _summed(parts: Iterable[Json]) -> Json:
    total: Json = {}
    for part in parts:
        for name, counts in part.items():
            row = total.setdefault(name, {})
            for key, value in counts.items():
                if key.startswith("n"):
                    row[key] = row.get(key, 0) + value
    for row in total.values():
        beyond = row["n"] - row["n_at_limit"]
        row["share_flagged"] = row["n_flagged"] / row["n"] if row["n"] else None
        row["share_unconfirmed"] = 1 - row["n_fooled"] / row["n"] if row["n"] else None
        row["share_flagged_beyond"] = row["n_flagged"] / beyond if beyond else None
    return total


def null_counts(scaling: Json) -> Json:
    """Counts from `latent_scaling.json` of a null pair, where every exclusive verdict is false."""
    live = sum(scaling[name] for name in (*IN_BOTH, "undecided", *EXCLUSIVE_BINS))
    n_false = sum(scaling[side] for side in EXCLUSIVE_BINS)
    return {
        **{side: scaling[side] for side in EXCLUSIVE_BINS},
        "n_live": live,
        "n_false": n_false,
        "share_false": n_false / live if live else None,
        "by_norm_bins": scaling["called_exclusive_by_norm"],
    }


def aim_line(row: Aim) -> str:
    """One aim of a study in a line: met or missed, and what was reached."""
    reached = "nothing" if row["reached"] is None else f"{row['reached']:.3g}"
    return f"{'met ' if row['met'] else 'MISS'} {row['target']}: {reached} (aim {row['aim']:g})"


def aimed(target: str, aim: float, reached: float | None, *, at_most: bool = False) -> Aim:
    """Whether a figure reaches its aim, from above or from below."""
    met = reached is not None and (reached <= aim if at_most else reached >= aim)
    return {"target": target, "aim": aim, "reached": reached, "met": met}


def targets(validation: Mapping[str, Any], max_fdr: float) -> list[Aim]:
    """What the validation aims at, what it reached, and whether that is enough."""
    rows: list[Aim] = []

    def add(name: str, aim: float, reached: float | None, *, at_most: bool = False) -> None:
        rows.append(aimed(name, aim, reached, at_most=at_most))

    for side in EXCLUSIVE_BINS:
        found = validation["variants"].get("BatchTopK", {}).get("verdicts", {}).get(side)
        if found:
            for frequency, aim in (("common", 0.95), ("rare", 0.8)):
                value = found[frequency][NU]["f1"]["value"]
                add(f"BatchTopK, nu, {side}, {frequency}: F1", aim, value)
            fdr = found["all"][NU]["fdr"]["value"]
            add(f"BatchTopK, nu, {side}: false discoveries", max_fdr, fdr, at_most=True)
    for variant, found in validation["variants"].items():
        for kind, frequencies in found["changes"]["kinds"].items():
            if frequencies["common"]["n_features"]:
                recall = frequencies["common"]["recall"]["value"]
                add(f"{variant}, {kind}, common: recall", MIN_RECALL, recall)
                fdr = frequencies["all"]["fdr"]["value"]
                add(f"{variant}, {kind}: false discoveries", max_fdr, fdr, at_most=True)
        wrong = found["changes"]["share_wrong"]
        add(f"{variant}: features given a wrong kind", max_fdr, wrong, at_most=True)
    for variant, found in _l1_of(validation).items():
        for name, counts in found["artefacts"].items():
            add(f"{variant} shows {name}: latents", 1, counts["n"])
            unconfirmed = counts["share_unconfirmed"]
            add(f"{variant}, share of {name} that nu does not confirm", 0.9, unconfirmed)
            add(f"{variant}, share of {name} that nu calls shared", 0.9, counts["share_flagged"])
            beyond = counts["share_flagged_beyond"]
            add(f"{variant}, share of {name} beyond the limit that nu calls shared", 0.9, beyond)
    for origin, pairings in validation["nulls"].items():
        for pairing, variants in pairings.items():
            for variant, counts in variants.items():
                aim = 0.0 if pairing == "same" else max_fdr
                name = f"{origin}, {pairing}, {variant}: share of latents called exclusive"
                add(name, aim, counts["share_false"], at_most=True)
    return rows


def _l1_of(validation: Mapping[str, Any]) -> Json:
    """The experiments with an L1 crosscoder, by name."""
    everything = {**validation["variants"], **validation.get("other_dictionaries", {})}
    return {name: found for name, found in everything.items() if name.startswith("L1")}


COLUMNS = (
    *("variant", "l0", "fve", "class", "frequency", "criterion", "measure"),
    *("value", "low", "high"),
)


def validation_table(validation: Mapping[str, Any]) -> Table:
    """`results/validation.csv`: one row per variant, class, frequency, criterion and measure."""
    rows = [
        {
            "variant": variant,
            "l0": found["l0"]["value"],
            "fve": found["fve"]["value"],
            "class": side,
            "frequency": frequency,
            "criterion": criterion,
            "measure": measure,
            **{end: figures[measure][end] for end in ("value", "low", "high")},
        }
        for variant, found in validation["variants"].items()
        for side, frequencies in found["verdicts"].items()
        for frequency, criteria in frequencies.items()
        for criterion, figures in criteria.items()
        for measure in MEASURES
    ]
    return table_of(rows, COLUMNS)
