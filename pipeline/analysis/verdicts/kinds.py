"""What both models have, and how it differs: alike, turned, stronger or weaker; each with a test.

u_base and u_it are what the models write of a latent (see `written`). With c the least cosine and R
the largest ratio of strengths at which the two still count as alike, and all products taken across
halves of the documents, the claims are

    straight       <u_base, u_it> - c |u_base| |u_it| > 0;   turned where it is < 0
    not stronger   R^2 |u_base|^2 - |u_it|^2 > 0;            stronger (in IT) where it is < 0
    not weaker     R^2 |u_it|^2 - |u_base|^2 > 0;            weaker where it is < 0

Each is tested by its jackknife error over blocks. No claim divides by a norm, so a faint side makes
none of them wild (Fieller 1954, "Some problems in interval estimation"). Shared claims the three on
the left at once (an equivalence test, Berger and Hsu 1996, "Bioequivalence trials,
intersection-union tests and equivalence confidence sets"). All four verdicts also claim that both
models have the latent at all, so p is never below that of this claim; each verdict has a false
discovery rate of its own. The first that holds names the latent, in this order: exclusive or moved
(known before), turned, stronger, weaker, shared; else it stays undecided.

Letters: L latents, G blocks of documents, M models.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.blocks import both_tails, compared, false_discovery_rate, jackknife_error
from pipeline.analysis.decoders.geometry import Mask
from pipeline.analysis.verdicts.written import Products
from pipeline.config.analysis import LatentScalingConfig

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
KINDS = ("turned", "stronger", "weaker", "shared")
"""Of latents that both models have on the same rows, in the order in which they are named."""


@dataclass(frozen=True)
class Differences:
    """cosine, log_strength: of u_base and u_it, with errors, [L]; p: of KINDS -> [L]"""

    cosine: Floats
    cosine_error: Floats
    log_strength: Floats
    log_strength_error: Floats
    p: dict[str, Floats]


def differences(
    products: Products, n_effective_L: Floats, section: LatentScalingConfig
) -> Differences:
    """Every latent's figures and tests; NaN where a half of the documents has nothing of it."""
    product_GLMM = products.without_each_block()
    claims, cosines, strengths = zip(
        *(_figures(product_LMM, section) for product_LMM in product_GLMM), strict=True
    )
    claim_GCL, cosine_GL, strength_GL = np.stack(claims), np.stack(cosines), np.stack(strengths)
    with np.errstate(divide="ignore", invalid="ignore"):
        t_CL = claim_GCL[0] / jackknife_error(claim_GCL[1:])
    yes_CL, no_CL = both_tails(t_CL, n_effective_L - 1)
    turned, stronger, weaker = no_CL
    return Differences(
        cosine=cosine_GL[0],
        cosine_error=jackknife_error(cosine_GL[1:]),
        log_strength=strength_GL[0],
        log_strength_error=jackknife_error(strength_GL[1:]),
        p={
            "turned": turned,
            "stronger": stronger,
            "weaker": weaker,
            "shared": yes_CL.max(axis=0),
        },
    )


def _figures(product_LMM: Floats, section: LatentScalingConfig) -> tuple[Floats, Floats, Floats]:
    """The three claims [3, L], cosine, ln strength."""
    cosine, log_strength, (base, it) = compared(product_LMM)
    straight = (cosine - section.min_shared_cosine) * np.sqrt(base * it)
    square = section.max_shared_strength_ratio**2
    claims = np.stack([straight, square * base - it, square * it - base])
    return claims, cosine, log_strength


def decoupled(table: "pd.DataFrame", section: LatentScalingConfig) -> Mask:
    """[L] latents whose concept other latents write in the other model: only nu_r shows it."""
    hidden = (table["nu_eps"] < section.max_nu_error) & (table["nu_turned"] < section.max_nu_turned)
    return (table["in_both"] & hidden & (table["nu_r"] >= section.max_nu_reconstruction)).to_numpy(
        copy=True
    )


def name_kinds(
    table: "pd.DataFrame", found: Differences, section: LatentScalingConfig
) -> "pd.DataFrame":
    """The table of verdicts with the columns of `found`; latents that both models surely have on
    the same rows get their kind."""
    table = table.copy()
    tested = table["p_both"].notna().to_numpy()
    for name in ("cosine", "cosine_error"):
        table[f"direction_{name}"] = np.where(tested, getattr(found, name), np.nan)
    table["strength_ratio"] = np.where(tested, np.exp(found.log_strength), np.nan)
    table["log_strength_error"] = np.where(tested, found.log_strength_error, np.nan)
    both = (table["q_both"] <= section.max_false_discovery_rate).to_numpy()
    open_ = both & (table["verdict"] == "undecided").to_numpy()
    verdict = table["verdict"].to_numpy(copy=True)
    for kind in KINDS:
        p = np.where(tested, np.maximum(found.p[kind], table["p_both"]), np.nan)
        table[f"p_{kind}"], table[f"q_{kind}"] = p, false_discovery_rate(p)
        named = open_ & (table[f"q_{kind}"] <= section.max_false_discovery_rate).to_numpy()
        verdict[named], open_ = kind, open_ & ~named
    table["verdict"] = verdict
    return table
