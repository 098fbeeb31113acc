"""Kinds of change against the planted truth: recall, false discoveries, and what is taken for what.

What a planted feature is follows from its gains, the cosine of its directions and its contexts, by
the limits that the verdicts have, in the precedence that they have:

    it_only, base_only   one gain is 0
    border               the weaker gain is one that an exclusive verdict allows, or one model has
                         the feature in some of the other's contexts only: no verdict is wrong
    moved                the models have it in different contexts
    turned               the cosine is below the limit
    stronger, weaker     the ratio of the gains is beyond the limit
    shared               none of these

A feature is recalled where the one latent that stands for it has that verdict. A latent with a
verdict is a false discovery where the feature it stands for is of another kind. Where it stands for
none it lies in the background: what is called exclusive or moved there is false, for both models
have it; how alike their sides of it are, the truth does not say, so other verdicts count there as
at the border.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.analysis.decoders.geometry import EXCLUSIVE_BINS, IN_BOTH
from pipeline.analysis.recovery.result import ByFrequency, Rates, VerdictScores
from pipeline.config.analysis import RecoveryConfig

Frame = Any
"""A pandas.DataFrame, whose own types say too little to check anything by."""
KINDS = (*IN_BOTH, *EXCLUSIVE_BINS)
IN_BACKGROUND = ("shared", "turned", "stronger", "weaker")
"""Verdicts that may be right of the background."""
NO_FEATURE = "none"
DECADES = ((1e-2, "1e-2 and above"), (1e-3, "1e-3 to 1e-2"), (1e-4, "1e-4 to 1e-3"), (0.0, "below"))


def decade_of(rate: float) -> str:
    return next(name for least, name in DECADES if rate >= least)


@dataclass(frozen=True)
class Counts:
    """What every rate is made of. Rates are None where nothing was to be found or called."""

    n_features: int
    n_found: int
    n_recalled: int
    n_called: int
    n_true: int
    n_border: int

    @classmethod
    def of(cls, wanted: Frame, called: Frame, asks: str, gets: str, n_border: int) -> "Counts":
        """Of the features that are wanted and the latents that are called. asks, gets: the columns
        of both with what the truth asks for and with the verdict."""
        return cls(
            len(wanted),
            int((wanted["latent"] >= 0).sum()),
            int((wanted[asks] == wanted[gets]).sum()),
            len(called),
            int((called[asks] == called[gets]).sum()),
            n_border,
        )

    def to_dict(self) -> Rates:
        n_false = self.n_called - self.n_true - self.n_border
        recall = share(self.n_recalled, self.n_features)
        precision = share(self.n_true, self.n_true + n_false)
        both = (recall or 0.0) + (precision or 0.0)
        f1 = 2 * recall * precision / both if recall and precision else (0.0 if both else None)
        return {
            "n_features": self.n_features,
            "n_found": self.n_found,
            "n_recalled": self.n_recalled,
            "n_called": self.n_called,
            "n_false": n_false,
            "n_border": self.n_border,
            "recall": recall,
            "precision": precision,
            "f1": f1,
            "fdr": None if precision is None else 1 - precision,
            "fdr_strict": share(n_false + self.n_border, self.n_called),
        }


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def by_frequency(features: Any, latents: Any, score: Any) -> ByFrequency:
    """`score` of all, of the common, of the rare, and of each decade of the rate that occurs."""
    parts = {
        "all": (slice(None), slice(None)),
        **{
            name: (features["frequency"] == name, latents["frequency"] == name)
            for name in ("common", "rare")
        },
        **{
            name: (features["decade"] == name, latents["decade"] == name)
            for _, name in DECADES
            if (features["decade"] == name).any()
        },
    }
    return {name: score(features[f], latents[x]).to_dict() for name, (f, x) in parts.items()}


def change_of(feature: Any, limits: RecoveryConfig, scale_ratio: float) -> str:
    """One of KINDS, or border, of a row of the table of features. scale_ratio: base over IT factor
    of the normalisation, in whose space strengths are compared."""
    base, it = feature.base_gain * scale_ratio, feature.it_gain
    if 0 in (base, it):
        return "base_only" if it == 0 else "it_only"
    if min(base, it) <= limits.exclusive_below * max(base, it):
        return "border"
    if feature.base_contexts != feature.it_contexts:
        return "border" if "all" in (feature.base_contexts, feature.it_contexts) else "moved"
    if feature.cosine < limits.min_shared_cosine:
        return "turned"
    if max(base, it) > limits.max_shared_strength_ratio * min(base, it):
        return "stronger" if it > base else "weaker"
    return "shared"


def verdict_scores(features: Frame, latents: Frame) -> VerdictScores:
    """Rates of every verdict; and of the features of every kind, how many get each verdict."""
    found: dict[str, dict[str, int]] = {
        kind: {name: int(n) for name, n in rows["by_verdict"].value_counts().items()}
        for kind, rows in features.groupby("change", sort=False)
    }
    return {
        "kinds": {kind: by_frequency(features, latents, partial(_counts, kind)) for kind in KINDS},
        "confusion": found,
        "n_wrong": sum(
            n
            for kind, verdicts in found.items()
            for verdict, n in verdicts.items()
            if kind in KINDS and verdict in KINDS and verdict != kind
        ),
    }


def _counts(kind: str, features: Frame, latents: Frame) -> Counts:
    wanted = features[features["change"] == kind]
    called = latents[latents["by_verdict"] == kind]
    neither = called["change"] == "border"
    if kind in IN_BACKGROUND:
        neither |= called["change"] == NO_FEATURE
    return Counts.of(wanted, called, "change", "by_verdict", int(neither.sum()))
