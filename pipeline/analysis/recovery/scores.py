"""Verdicts against the planted truth: what was found, what was called rightly, what falsely.

A feature is recalled where the one latent that stands for it (see `matching`) has the verdict that
the truth asks for. A latent called base-only or IT-only is a true discovery where the feature it
stands for is that model's own, and a false one where it stands for a shared feature, the other
model's or none at all. The false discovery rate is the share of false ones among all called.
Latents of a feature that the weaker model has too, but by no more than an exclusive verdict allows
it, are neither true nor false; `fdr_strict` counts them as false.

Letters: L latents, F features.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.decoders.geometry import CRITERIA, EXCLUSIVE_BINS
from pipeline.analysis.recovery.kinds import (
    Counts,
    by_frequency,
    change_of,
    decade_of,
    share,
    verdict_scores,
)
from pipeline.analysis.recovery.matching import Cooccurrence, Matching
from pipeline.analysis.recovery.result import (
    NU,
    VERDICT,
    ArtefactScores,
    ByFrequency,
    GainScores,
    Recovery,
)
from pipeline.config.analysis import RecoveryConfig

Frame = Any
"""A pandas.DataFrame, whose own types say too little to check anything by."""
AT_LIMIT = 0.25
"""Relative distance of a true nu from the limit of an exclusive verdict."""


def truth_of(base_gain: float, it_gain: float, exclusive_below: float) -> str:
    """shared, border, base_only or it_only."""
    weak, strong = sorted((base_gain, it_gain))
    if weak > exclusive_below * strong:
        return "shared"
    if weak > 0:
        return "border"
    return "base_only" if it_gain == 0 else "it_only"


def calls(verdicts: Frame) -> Frame:
    """What each latent is called, by the published norm criteria, by nu and by the whole verdict:
    one column each.

    By norms all that is not exclusive is shared; by nu, all that both models surely have, however
    it differs.
    """
    import pandas as pd

    r, dead = verdicts["relative_norm"].to_numpy(), (verdicts["verdict"] == "dead").to_numpy()
    called = {}
    for criterion in CRITERIA:
        name = np.full(r.shape, "shared", dtype="<U9")
        name[r < criterion.low], name[r > criterion.high] = EXCLUSIVE_BINS
        name[dead] = "dead"
        called[f"norm_{criterion.name}"] = name
    verdict = verdicts["verdict"].to_numpy()
    called[NU] = np.where(verdicts["in_both"].to_numpy(), "shared", verdict)
    return pd.DataFrame({**called, VERDICT: verdict})


def feature_table(
    features: Frame,
    verdicts: Frame,
    matching: Matching,
    together: Cooccurrence,
    *,
    limits: RecoveryConfig,
    scale_ratio: float,
) -> Frame:
    """One row per planted feature, its own columns as in data/plant/columns.json. scale_ratio: base
    over IT factor of the normalisation. Beside them:

    truth: shared (in both models, however it differs), base_only, it_only, or border: in the weaker
        model too, but by no more than an exclusive verdict allows
    change: its kind, see `kinds`
    decade: of its rate; n_active_rows: held-out rows on which it fires
    latent: the one that stands for it, -1: none; correlation, direction_cosine: of that latent
        with it; n_latents: how many stand for it
    by_<criterion>: what that latent is called by a published norm criterion, by nu, or (by_verdict)
        by the verdict with its kinds
    nu_true: the weaker gain over the stronger, along the stronger's direction, in the crosscoder's
        own space; nu_eps, nu_eps_low, nu_eps_high: as estimated for that latent
    """
    latent = matching.latent_F
    found, j = latent >= 0, np.arange(len(features))
    table = features.assign(
        truth=[
            truth_of(b, i, limits.exclusive_below)
            for b, i in zip(features["base_gain"], features["it_gain"], strict=True)
        ],
        change=[change_of(row, limits, scale_ratio) for row in features.itertuples()],
        decade=[decade_of(rate) for rate in features["rate"]],
        n_active_rows=together.n_active_F,
        latent=latent,
        correlation=np.where(found, matching.correlation_LF[latent, j], np.nan),
        direction_cosine=np.where(found, matching.cosine_LF[latent, j], np.nan),
        n_latents=np.bincount(matching.feature_L[matching.feature_L >= 0], minlength=len(j)),
    )
    for name, called in calls(verdicts).items():
        table[f"by_{name}"] = np.where(found, called.to_numpy()[latent], "not found")
    table["nu_true"] = _true_nu(features, scale_ratio)
    for name in ("nu_eps", "nu_eps_low", "nu_eps_high"):
        table[name] = np.where(found, verdicts[name].to_numpy()[latent], np.nan)
    return table


def _true_nu(features: Frame, scale_ratio: float) -> NDArray[np.float64]:
    base, it = features["base_gain"].to_numpy() * scale_ratio, features["it_gain"].to_numpy()
    return np.minimum(base, it) / np.maximum(base, it) * features["cosine"].to_numpy()


def latent_table(
    verdicts: Frame, table: Frame, matching: Matching, together: Cooccurrence
) -> Frame:
    """One row per latent: the feature it stands for, what it is called, and a known artefact.

    artefact: of latents that the norms (Minder's criterion) call exclusive and that stand for a
    shared feature: latent_decoupling where another latent stands for the same feature in the other
    model alone, complete_shrinkage where none does
    """
    import pandas as pd

    feature = matching.feature_L
    known = feature >= 0
    of = table.iloc[np.maximum(feature, 0)]
    rate = together.n_active_L / together.n_rows
    latents = pd.DataFrame(
        {
            "latent": verdicts["latent"],
            "feature": feature,
            "kind": np.where(known, of["kind"], "none"),
            "truth": np.where(known, of["truth"], "none"),
            "change": np.where(known, of["change"], "none"),
            "rate": np.where(known, of["rate"], rate),
            "nu_true": np.where(known, of["nu_true"], np.nan),
            "correlation": matching.correlation_LF[np.arange(len(feature)), feature] * known,
            "direction_cosine": matching.cosine_LF[np.arange(len(feature)), feature] * known,
            **{f"by_{name}": called for name, called in calls(verdicts).items()},
        }
    )
    latents["decade"] = [decade_of(rate) for rate in latents["rate"]]
    latents["artefact"] = _artefacts(latents)
    return latents


def _artefacts(latents: Frame) -> list[str]:
    wrong = latents[(latents["truth"] == "shared") & latents["by_norm_minder"].isin(EXCLUSIVE_BINS)]
    sides = wrong.groupby("feature")["by_norm_minder"].nunique()
    return [
        ("latent_decoupling" if sides[feature] == 2 else "complete_shrinkage")
        if at in wrong.index
        else ""
        for at, feature in latents["feature"].items()
    ]


def exclusive_scores(features: Frame, latents: Frame, criterion: str) -> dict[str, ByFrequency]:
    """base_only, it_only and both -> all, common, rare and each decade -> rates."""
    sides = {**{side: (side,) for side in EXCLUSIVE_BINS}, "exclusive": EXCLUSIVE_BINS}
    return {
        name: by_frequency(features, latents, partial(_exclusive, classes, criterion))
        for name, classes in sides.items()
    }


def _exclusive(classes: tuple[str, ...], criterion: str, features: Frame, latents: Frame) -> Counts:
    wanted = features[features["truth"].isin(classes)]
    called = latents[latents[f"by_{criterion}"].isin(classes)]
    return _by_criterion(wanted, called, criterion)


def _by_criterion(wanted: Frame, called: Frame, criterion: str) -> Counts:
    n_border = int((called["truth"] == "border").sum())
    return Counts.of(wanted, called, "truth", f"by_{criterion}", n_border)


def kind_scores(features: Frame, latents: Frame, criterion: str) -> dict[str, ByFrequency]:
    """Kind -> frequency -> rates. Called: the latents that stand for features of the kind and have
    a verdict; true: those whose verdict is the kind's truth."""

    def score(f: Frame, x: Frame) -> Counts:
        called = x[x[f"by_{criterion}"].isin(("shared", *EXCLUSIVE_BINS))]
        return _by_criterion(f[f["truth"] != "border"], called, criterion)

    return {
        kind: by_frequency(f, latents[latents["kind"] == kind], score)
        for kind, f in features.groupby("kind", sort=False)
    }


def with_frequency(table: Frame, common_rate: float) -> Frame:
    """The table with a column `frequency`: common or rare."""
    return table.assign(frequency=np.where(table["rate"] >= common_rate, "common", "rare"))


def artefact_scores(latents: Frame, exclusive_below: float) -> dict[str, ArtefactScores]:
    """Artefact -> how many latents have it, and how many of these nu flags as not exclusive:
    `n_flagged` calls them shared, `n_undecided` leaves them open, the rest it is fooled by.

    n_at_limit: of the undecided, those whose true nu is within AT_LIMIT of the limit, so that no
    number of rows like these could settle it; share_flagged_beyond leaves them out
    """
    at_limit = np.abs(latents["nu_true"] / exclusive_below - 1) <= AT_LIMIT
    scores: dict[str, ArtefactScores] = {}
    for name in ("complete_shrinkage", "latent_decoupling"):
        having = latents["artefact"] == name
        verdict = latents.loc[having, f"by_{NU}"]
        flagged = int((verdict == "shared").sum())
        n_at_limit = int(((verdict == "undecided") & at_limit[having]).sum())
        scores[name] = {
            "n": len(verdict),
            "n_flagged": flagged,
            "n_undecided": int((verdict == "undecided").sum()),
            "n_at_limit": n_at_limit,
            "n_fooled": int(verdict.isin(EXCLUSIVE_BINS).sum()),
            "share_flagged": share(flagged, len(verdict)),
            "share_flagged_beyond": share(flagged, len(verdict) - n_at_limit),
        }
    return scores


def gain_scores(features: Frame) -> dict[str, GainScores]:
    """Kind -> true and estimated nu of the features found that both models have."""
    found = features[(features["latent"] >= 0) & features["nu_eps"].notna()]
    both = found[(found["base_gain"] > 0) & (found["it_gain"] > 0)]
    return {
        kind: {
            "n": len(rows),
            "nu_true": float(rows["nu_true"].mean()),
            "nu_eps_median": float(rows["nu_eps"].median()),
            "mean_absolute_error": float((rows["nu_eps"] - rows["nu_true"]).abs().mean()),
            "share_in_interval": float(
                rows["nu_true"].between(rows["nu_eps_low"], rows["nu_eps_high"]).mean()
            ),
        }
        for kind, rows in both.groupby("kind", sort=False)
    }


def recovery_scores(features: Frame, latents: Frame, *, exclusive_below: float) -> Recovery:
    """Everything of `results/recovery.json` that the two tables tell."""
    named = [name.removeprefix("by_") for name in latents.columns if name.startswith("by_")]
    criteria = [name for name in named if name != VERDICT]
    return {
        "n_features": len(features),
        "n_found": int((features["latent"] >= 0).sum()),
        "n_latents_without_feature": int((latents["feature"] < 0).sum()),
        "criteria": {
            name: {
                "exclusive": exclusive_scores(features, latents, name),
                "kinds": kind_scores(features, latents, name),
            }
            for name in criteria
        },
        "verdicts": verdict_scores(features, latents),
        "artefacts": artefact_scores(latents, exclusive_below),
        "gains": gain_scores(features),
    }
