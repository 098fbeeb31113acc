"""The section on verdicts: whether a latent's direction is really absent from the other model."""

import math
from collections import Counter

from pipeline.analysis.evaluation.result import LATENTS
from pipeline.analysis.verdicts.chart import scaling_figure, scaling_points
from pipeline.analysis.verdicts.columns import VerdictColumns
from pipeline.analysis.verdicts.result import VERDICT_COUNTS, VERDICTS, VerdictCounts
from pipeline.config.analysis import LatentScalingConfig
from pipeline.report import grid
from pipeline.report.chart import Chart
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, number
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import NORM_BIN_NAMES, VERDICT_NAMES
from pipeline.report.section import Section, Shown
from pipeline.report.shares import source_shares, template_shares

MOSTLY = 0.5
"""A latent fires mainly on a class of token when more than this share of its firing is there."""


def show(findings: Findings) -> Shown:
    counts = findings.read(VERDICT_COUNTS)
    rule = findings.config.latent_scaling
    n = counts["it_only"] + counts["base_only"]
    chart = Chart(
        f"{n:,} latents lie surely bottom left, where the other model lacks their direction"
        if n
        else "No latent lies surely bottom left: each direction is present in the other model too, "
        "or the data do not decide",
        340,
        scaling_points(findings.read(VERDICTS)),
        lambda points, palette: scaling_figure(
            points, palette, limits=(rule.max_nu_error, rule.max_nu_reconstruction)
        ),
        opens="latent",
    )
    told = [verdicts(counts), *fires_on(findings)]
    tables = {"against_norms": against_norms(findings)}
    return Shown({"scaling": chart}, tables, {"counts": counts, "rule": rule}, told)


SECTION = Section("verdicts", "Verdicts", show)


def against_norms(findings: Findings) -> Grid:
    """What the norms say (rows) against the verdict (columns): counts of live latents."""
    columns = findings.read(VERDICTS)
    pairs = Counter(zip(columns["norm_bin"], columns["verdict"], strict=True))
    rows = [
        Row(name, [grid.number(pairs[norm_bin, verdict]) for verdict in VERDICT_NAMES])
        for norm_bin, name in NORM_BIN_NAMES.items()
    ]
    heads = ["by decoder norm", *(f"verdict {name}" for name in VERDICT_NAMES.values())]
    return Grid("What the norms say, and the verdict", heads, rows)


def verdicts(counts: VerdictCounts) -> str:
    called = counts["called_exclusive_by_norm"]
    confirmed, refuted = counts["of_these_confirmed"], counts["of_these_refuted"]
    asked = (
        "A verdict asks the activations, not the decoder’s length: is the latent’s direction "
        "really absent from the other model, at a false discovery rate of "
        f"{counts['max_false_discovery_rate']:.0%} over documents? "
    )
    if not called:
        return asked + "No latent looks exclusive by norm, so there was nothing to refute."
    open_ones = "." if confirmed + refuted == called else "; for the rest the data do not decide."
    return asked + (
        f"Of the {called:,} latents that the norms call exclusive it confirms {confirmed:,} and "
        f"refutes {refuted:,}{open_ones}"
    )


def fires_on(findings: Findings) -> list[str]:
    """What the IT-only latents fire on, or else those that look so by norm."""
    latents, verdict = findings.read(LATENTS), findings.read(VERDICTS)["verdict"]
    of = "IT-only latents"
    chosen = [latent for latent, name in enumerate(verdict) if name == "it_only"]
    if not chosen:
        of = "latents that look IT-only by norm"
        chosen = [latent for latent, name in enumerate(latents["bin"]) if name == "it_only"]
    if not chosen:
        return []
    shares = source_shares(latents, findings.sources)
    shares["template tokens (what stands around each turn)"] = template_shares(findings)
    mostly = [
        f"{sum(share[row] > MOSTLY for row in chosen):,} fire mainly on {name}"
        for name, share in shares.items()
    ]
    return [f"Of the {len(chosen):,} {of}, {', '.join(mostly[:-1])} and {mostly[-1]}."]


def reason(findings: Findings, latent: int) -> str:
    """Why a latent has its verdict, and for an undecided one what data would decide it."""
    columns, rule = findings.read(VERDICTS), findings.config.latent_scaling
    match columns["verdict"][latent]:
        case "undecided":
            return undecided(columns, latent, rule)
        case "it_only" | "base_only":
            return (
                f"every test of its absence passes (q = {number(columns['q_exclusive'][latent])})"
            )
        case "dead":
            return "it fired on no held-out token"
        case _:
            return REFUTED.get(
                columns["artefact"][latent],
                f"the other model has its direction (ν {fixed(columns['nu_eps'][latent], 2)})",
            )


REFUTED = {
    "complete_shrinkage": "the other model has its direction too: only its decoder shrank",
    "latent_decoupling": "the other model has it in other latents, or on other rows",
    "both": "the other model has its direction too, partly in other latents",
}
"""Artefact -> why the norms were wrong to call the latent exclusive."""


def undecided(columns: VerdictColumns, latent: int, rule: LatentScalingConfig) -> str:
    n_active, n_effective = columns["n_active"][latent], columns["n_effective"][latent] or 0.0
    if n_active < rule.min_active_rows:
        return (
            f"it fires on {n_active} held-out rows of the {rule.min_active_rows} a verdict needs: "
            f"about {times(rule.min_active_rows, n_active)} as much held-out text would decide"
        )
    if n_effective < rule.min_effective_blocks:
        return (
            f"its firing counts as {n_effective:.1f} blocks of documents of the "
            f"{rule.min_effective_blocks:g} a verdict needs: about "
            f"{times(rule.min_effective_blocks, n_effective)} as much held-out text would decide"
        )
    return unsure(columns, latent, rule)


def unsure(columns: VerdictColumns, latent: int, rule: LatentScalingConfig) -> str:
    """Of a latent with data enough for a verdict: the nu whose interval holds its limit. Intervals
    shrink with the root of the rows, so the rows needed grow with the square of the width."""
    found = (
        (
            *("of the error", columns["nu_eps"][latent], rule.max_nu_error),
            *(columns["nu_eps_low"][latent], columns["nu_eps_high"][latent]),
        ),
        (
            *("of the reconstruction", columns["nu_r"][latent], rule.max_nu_reconstruction),
            *(columns["nu_r_low"][latent], columns["nu_r_high"][latent]),
        ),
    )
    for name, nu, limit, low, high in found:
        if nu is None or low is None or high is None or not low <= limit <= high:
            continue
        needed = ((high - low) / 2 / max(abs(nu - limit), 1e-9)) ** 2
        data = (
            f"about {times(needed, 1)} as much held-out text would decide"
            if needed <= MANY_TIMES
            else "it lies at the limit, where no amount of text decides"
        )
        return f"ν {name} is {nu:.2f} ({low:.2f} to {high:.2f}), the limit {limit:g}: {data}"
    return (
        "its figures lie on one side of every limit, but not surely at the false discovery rate "
        "asked for: more held-out text would decide"
    )


MANY_TIMES = 100.0


def times(needed: float, there: float) -> str:
    return f"{math.ceil(needed / max(there, 1e-9)):,} times" if there else "many times"
