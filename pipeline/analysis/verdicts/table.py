"""What each latent is, by latent scaling with its uncertainty, and where the norm bins go wrong.

A latent is exclusive where nu_eps and nu_r are below their limits (Minder et al.: 0.2 and 0.5),
sure of both, and nothing of the latent is in the other model in another direction (nu_turned below
its limit, see `evidence`), on other rows (see `elsewhere`) or in another latent (see `twins`). It
is alike where the cosine of what the models write and the ratio of its strengths are within theirs,
sure of both (see `kinds`). The limits are those of the section `latent_scaling`.

Letters: L latents, R resamples, G blocks of documents, Y targets (error, reconstruction).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.blocks import false_discovery_rate
from pipeline.analysis.decoders.geometry import (
    CRITERIA,
    EXCLUSIVE_BINS,
    IN_BOTH,
    Geometry,
    Mask,
    bins_of,
    criterion_classes,
)
from pipeline.analysis.verdicts.columns import COLUMNS, KIND_COLUMNS
from pipeline.analysis.verdicts.evidence import Evidence, exceedance, gather_evidence
from pipeline.analysis.verdicts.intervals import BASE, IT, anchored, intervals
from pipeline.analysis.verdicts.result import Exceptions, MinderCounts, MinderRule, VerdictCounts
from pipeline.analysis.verdicts.scaling import ScalingSums, scaling
from pipeline.config.analysis import LatentScalingConfig

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

VERDICTS = (*IN_BOTH, *EXCLUSIVE_BINS, "undecided", "dead")
LOW_COSINE = 0.1
"""Of decoders of one latent whose norms call it shared: below, it is an exception to the rule that
shared latents point the same way (Kissane et al. 2024: "very low or negative cosine")."""
ARTEFACTS = ("", "complete_shrinkage", "latent_decoupling", "both")
MINDER_DELTA, MINDER_NU_EPS, MINDER_NU_R = 0.9, 0.2, 0.5
"""Minder et al. 2025, arXiv 2504.02922."""


@dataclass(frozen=True)
class Calls:
    """Verdicts before kinds (exclusive, undecided or dead) and why; arrays are [L], p and q NaN
    where no verdict can be given. in_both: whether both models surely have it, on the same rows."""

    verdict: NDArray[np.str_]
    in_both: Mask
    p_exclusive: Floats
    q_exclusive: Floats
    p_both: Floats
    q_both: Floats
    sure_above_C: Mask
    """[C, L] whether this claim alone shows that both models have the latent."""


def verdict_table(
    geometry: Geometry, sums: ScalingSums, weights_RG: Floats, section: LatentScalingConfig
) -> "pd.DataFrame":
    """One row per latent with the columns of COLUMNS; those of `kinds` are blank. weights_RG:
    resamples of the blocks."""
    import pandas as pd

    anchor = np.where(geometry.relative_norm >= 0.5, IT, BASE)
    point = scaling(sums)
    nu, null = anchored(point.nu, anchor), anchored(point.nu_null, anchor)
    low, high = intervals(sums, anchor, weights_RG, section.confidence)
    evidence = gather_evidence(sums, anchor, limits_of(section))
    n_active = sums.n_active_GL.sum(axis=0).astype(np.int64)
    calls = call(evidence, anchor, n_active, section)
    norm_bin = bins_of(geometry.relative_norm, n_active > 0)
    p_present = exceedance(evidence.present, evidence.present_null)
    table = pd.DataFrame(
        {
            "latent": np.arange(anchor.size),
            "verdict": calls.verdict,
            "in_both": calls.in_both,
            "anchor": np.array(["base", "it"])[anchor],
            "nu_eps": nu[0],
            "nu_eps_low": low[0],
            "nu_eps_high": high[0],
            "nu_r": nu[1],
            "nu_r_low": low[1],
            "nu_r_high": high[1],
            "nu_eps_base": point.nu[0, BASE],
            "nu_eps_it": point.nu[0, IT],
            "nu_r_base": point.nu[1, BASE],
            "nu_r_it": point.nu[1, IT],
            "nu_turned": evidence.nu_turned,
            "p_exclusive": calls.p_exclusive,
            "q_exclusive": calls.q_exclusive,
            "p_both": calls.p_both,
            "q_both": calls.q_both,
            **dict.fromkeys(KIND_COLUMNS, np.nan),
            "nu_eps_null": null[0],
            "nu_r_null": null[1],
            "p_present": p_present,
            "q_present": false_discovery_rate(p_present),
            "n_active": n_active,
            "n_effective": evidence.n_effective,
            "norm_bin": norm_bin,
            **{f"by_{c.name}": criterion_classes(geometry.relative_norm, c) for c in CRITERIA},
            "share_elsewhere": np.nan,
            "twin": -1,
            "artefact": artefacts(calls, norm_bin),
            "relative_norm": geometry.relative_norm,
            "delta": geometry.delta,
            "decoder_cosine": geometry.cosine,
        }
    )
    return table.loc[:, list(COLUMNS)]


def limits_of(section: LatentScalingConfig) -> tuple[float, float, float]:
    """The limits of `evidence.CLAIMS`, in their order."""
    return section.max_nu_error, section.max_nu_reconstruction, section.max_nu_turned


def call(
    evidence: Evidence,
    anchor_L: NDArray[np.integer],
    n_active_L: NDArray[np.integer],
    section: LatentScalingConfig,
) -> Calls:
    """Verdicts at a false discovery rate over the latents with rows and blocks enough."""
    enough = evidence.n_effective >= section.min_effective_blocks
    enough &= n_active_L >= section.min_active_rows
    p_exclusive = np.where(enough, evidence.p_exclusive, np.nan)
    p_both = np.where(enough, evidence.p_both, np.nan)
    q_exclusive, q_both = false_discovery_rate(p_exclusive), false_discovery_rate(p_both)
    both = q_both <= section.max_false_discovery_rate
    exclusive = (q_exclusive <= section.max_false_discovery_rate) & ~both
    verdict = np.full(anchor_L.shape, "undecided", dtype="<U9")
    verdict[exclusive & (anchor_L == IT)] = "it_only"
    verdict[exclusive & (anchor_L == BASE)] = "base_only"
    verdict[n_active_L == 0] = "dead"
    largest_p = p_both[both].max(initial=0.0)
    sure_above = both & (len(evidence.p_above_C) * evidence.p_above_C <= largest_p)
    return Calls(verdict, both, p_exclusive, q_exclusive, p_both, q_both, sure_above)


def artefacts(calls: Calls, norm_bin: NDArray[np.str_]) -> NDArray[np.str_]:
    """[L] of ARTEFACTS: why the norms call a latent exclusive that both models have."""
    wrong = calls.in_both & np.isin(norm_bin, EXCLUSIVE_BINS)
    in_error, decoupled, turned = calls.sure_above_C
    shrunk = in_error | turned
    names = np.array(ARTEFACTS)
    return np.where(wrong, names[shrunk + 2 * decoupled], "")


def summary(
    table: "pd.DataFrame", section: LatentScalingConfig, *, window_tokens: int
) -> VerdictCounts:
    """Counts for `results/latent_scaling.json`: verdicts, artefacts, norm bins beside verdicts."""
    verdict, artefact, norm_bin, delta = (
        table[name].to_numpy() for name in ("verdict", "artefact", "norm_bin", "delta")
    )
    in_both = table["in_both"].to_numpy()
    called, max_rate = np.isin(norm_bin, EXCLUSIVE_BINS), section.max_false_discovery_rate
    exclusive, q_exclusive = np.isin(verdict, EXCLUSIVE_BINS), table["q_exclusive"].to_numpy()
    counts = {
        "space": "normalised",
        "window_tokens": window_tokens,
        "confidence": section.confidence,
        "max_false_discovery_rate": max_rate,
        **{name: int((verdict == name).sum()) for name in VERDICTS},
        "in_both": int(in_both.sum()),
        "tested": int(np.isfinite(q_exclusive).sum()),
        "largest_q_exclusive": float(q_exclusive[exclusive].max()) if exclusive.any() else None,
        "present_in_other": int((table["q_present"].to_numpy() <= max_rate).sum()),
        "artefacts": {name: int((artefact == name).sum()) for name in ARTEFACTS if name},
        "called_exclusive_by_norm": int(called.sum()),
        "of_these_confirmed": int((called & (verdict == norm_bin)).sum()),
        "of_these_refuted": int((called & in_both).sum()),
        "exclusive_but_not_by_norm": int((exclusive & (verdict != norm_bin)).sum()),
        "minder_rule": _minder_rule(table, delta),
        "exceptions": _exceptions(table),
    }
    return cast(VerdictCounts, counts)


def _exceptions(table: "pd.DataFrame") -> Exceptions:
    """Of the live latents that the norms call shared, those whose decoders do not agree."""
    verdict, norm_bin, cosine = (
        table[name].to_numpy() for name in ("verdict", "norm_bin", "decoder_cosine")
    )
    shared = norm_bin == "shared"  # dead ones have a bin of their own
    low = shared & (cosine < LOW_COSINE)
    return {
        "shared_by_norm": int(shared.sum()),
        "low_cosine": int(low.sum()),
        "negative_cosine": int((shared & (cosine < 0)).sum()),
        "verdicts": {v: int((verdict[low] == v).sum()) for v in VERDICTS if v != "dead"},
    }


def _minder_rule(table: "pd.DataFrame", delta: Floats) -> MinderRule:
    """Minder et al.'s own count, without uncertainty: of the live latents with Delta above 0.9
    (below 0.1), those with nu_r < 0.5 and nu_eps < 0.2, anchored at that model."""
    live = table["verdict"].to_numpy() != "dead"

    def counts(model: str, by_norm: Mask) -> MinderCounts:
        nu_eps, nu_r = (table[f"{nu}_{model}"].to_numpy() for nu in ("nu_eps", "nu_r"))
        specific = by_norm & live & (nu_eps < MINDER_NU_EPS) & (nu_r < MINDER_NU_R)
        return {"by_delta": int((by_norm & live).sum()), "of_these_specific": int(specific.sum())}

    return {
        "it_only": counts("it", delta > MINDER_DELTA),
        "base_only": counts("base", delta < 1 - MINDER_DELTA),
    }
