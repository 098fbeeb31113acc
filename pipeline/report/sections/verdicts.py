"""The section on verdicts: whether a latent's direction is really absent from the other model."""

import math
from collections import Counter
from typing import Final

from pipeline.analysis.evaluation.result import LATENTS
from pipeline.analysis.verdicts.chart import scaling_figure, scaling_points
from pipeline.analysis.verdicts.columns import VerdictColumns
from pipeline.analysis.verdicts.result import VERDICT_COUNTS, VERDICTS, VerdictCounts
from pipeline.config.analysis import LatentScalingConfig
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, number
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import NORM_BIN_NAMES, VERDICT_NAMES
from pipeline.report.section import Chart, Section, Shown
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
    told = [verdicts(counts), *fires_on(findings), *exceptions(counts)]
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


def exceptions(counts: VerdictCounts) -> list[str]:
    """The latents that the norms call shared although their two decoders point apart."""
    found = counts["exceptions"]
    if not found["shared_by_norm"]:
        return []
    turned, shared = found["verdicts"].get("turned", 0), f"{found['shared_by_norm']:,} latents"
    if not found["low_cosine"]:
        return [
            f"None of the {shared} that the norms call shared has decoders that point apart "
            "(cosine below 0.1)."
        ]
    told = (
        f"Of the {shared} that the norms call shared, {found['low_cosine']:,} have decoders that "
        f"point apart (cosine below 0.1, {found['negative_cosine']:,} a negative one)"
    )
    return [f"{told}; the verdict calls {turned:,} of these turned." if turned else f"{told}."]


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
        case "undecided" if columns["in_both"][latent]:
            return undecided_kind(columns, latent, rule)
        case "undecided":
            return undecided(columns, latent, rule)
        case "it_only" | "base_only":
            return (
                f"every test of its absence passes (q = {number(columns['q_exclusive'][latent])})"
            )
        case "dead":
            return "it fired on no held-out token"
        case "moved":
            twin = columns["twin"][latent]
            where = "on other tokens" if twin < 0 else f"on other tokens, in latent {twin}"
            return f"the other model has it too, but {where}"
        case kind:
            return in_both(columns, latent, kind)


def in_both(columns: VerdictColumns, latent: int, kind: str) -> str:
    """Why a latent of both models is turned, stronger, weaker or shared."""
    cosine, ratio = fixed(columns["direction_cosine"][latent], 2), strength(columns, latent)
    sure = f"(q = {number(columns[Q_OF[kind]][latent], 2)})"
    norms = f"; {text}" if (text := REFUTED.get(columns["artefact"][latent])) else ""
    match kind:
        case "turned":
            told = f"both models have it, but write it in different directions, cosine {cosine}"
        case "stronger" | "weaker":
            told = f"both models have it, IT {ratio} times as strongly"
        case _:
            told = f"both models write it alike: cosine {cosine}, strength ratio {ratio}"
    return f"{told} {sure}{norms}"


Q_OF: Final = {
    "turned": "q_turned",
    "stronger": "q_stronger",
    "weaker": "q_weaker",
    "shared": "q_shared",
}


def strength(columns: VerdictColumns, latent: int) -> str:
    return number(columns["strength_ratio"][latent], 2)


def undecided_kind(columns: VerdictColumns, latent: int, rule: LatentScalingConfig) -> str:
    """Of a latent that both models surely have: the figure that does not say how it differs."""
    cosine, error = columns["direction_cosine"][latent], columns["direction_cosine_error"][latent]
    ratio, log_error = columns["strength_ratio"][latent], columns["log_strength_error"][latent]
    if None in (cosine, error, ratio, log_error) or math.isnan(error or math.nan):
        return (
            "both models have it; how alike they write it cannot be told from so few documents: "
            "more held-out text would decide"
        )
    found = (
        (cosine or 0.0, error or 0.0, rule.min_shared_cosine),
        (abs(math.log(ratio or 1.0)), log_error or 0.0, math.log(rule.max_shared_strength_ratio)),
    )
    # The figure that lies the fewest errors from its limit is the one that keeps it open.
    value, spread, limit = min(found, key=lambda f: abs(f[0] - f[2]) / max(f[1], 1e-9))
    needed = (SURE_ERRORS * spread / max(abs(value - limit), 1e-9)) ** 2
    return (
        f"both models have it; cosine {fixed(cosine, 2)} ± {fixed(error, 2)} (limit "
        f"{rule.min_shared_cosine:g}) and strength ratio {strength(columns, latent)} (limit "
        f"{rule.max_shared_strength_ratio:g}) do not say whether alike: {more_text(needed)}"
    )


SURE_ERRORS = 3.0
"""Standard errors between a figure and its limit at which a verdict is mostly given."""


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
        return (
            f"ν {name} is {nu:.2f} ({low:.2f} to {high:.2f}), the limit {limit:g}: "
            f"{more_text(needed)}"
        )
    return (
        "its figures lie on one side of every limit, but not surely at the false discovery rate "
        "asked for: more held-out text would decide"
    )


def more_text(needed: float) -> str:
    if needed > MANY_TIMES:
        return "it lies at the limit, where no amount of text decides"
    if needed <= 1:
        return "a little more held-out text would decide"
    return f"about {times(needed, 1)} as much held-out text would decide"


MANY_TIMES = 100.0


def times(needed: float, there: float) -> str:
    return f"{math.ceil(needed / max(there, 1e-9)):,} times" if there else "many times"
