"""What every rate is made of, and rates by how often a feature fires."""

from dataclasses import dataclass
from typing import Any

from pipeline.analysis.recovery.result import ByFrequency, Rates

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
