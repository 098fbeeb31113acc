"""The section on the two decoders of each latent: whose is longer, and the angle between them."""

from collections.abc import Sequence
from functools import partial

from pipeline.analysis.decoders.charts import (
    cluster_of,
    decoder_cosine_figure,
    latent_figure,
    relative_norm_figure,
)
from pipeline.analysis.decoders.geometry import CRITERIA, EXCLUSIVE_BINS, Criterion
from pipeline.analysis.decoders.result import (
    DECODER_COSINE,
    DECODER_COSINE_BINS,
    RELATIVE_NORM,
    RELATIVE_NORM_BINS,
    CriterionCounts,
    DecoderCosine,
    RelativeNorm,
)
from pipeline.analysis.evaluation.result import LATENTS, LatentColumns, source_rates
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.grid import Grid, Row
from pipeline.report.section import Chart, Section, Shown, Table
from pipeline.report.shares import source_shares
from pipeline.results import table

N_SHOWN_LATENTS = 2_000
"""Dots in the scatter of latents besides the exclusive ones, which are all among them."""


def show(findings: Findings) -> Shown:
    norm, cosine = findings.read(RELATIVE_NORM), findings.read(DECODER_COSINE)
    charts = {
        "relative_norm": Chart(
            f"{norm['reference'].get('shared', 0):,} of {norm['n_live']:,} live latents lie "
            "between 0.3 and 0.7: both models use them",
            260,
            table(findings.read(RELATIVE_NORM_BINS)),
            relative_norm_figure,
            opens="relative_norm",
        ),
        "decoder_cosine": Chart(
            f"{cosine['n_above_0.9']:,} of {cosine['n_shared']:,} shared latents have decoders "
            "within a cosine of 0.9 of each other",
            260,
            table(findings.read(DECODER_COSINE_BINS)),
            decoder_cosine_figure,
            opens="decoder_cosine",
        ),
        "latents": Chart(
            "Whose a latent is, and where it fires: each dot is a latent",
            300,
            shown_latents(findings.read(LATENTS), findings.sources),
            partial(latent_figure, sources=findings.sources),
            opens="latent",
        ),
    }
    told = [clusters(norm), angles(cosine)]
    return Shown(charts, {"criteria": criteria(norm)}, {"cosine": cosine}, told)


SECTION = Section("decoders", "Decoders", show)


def criteria(norm: RelativeNorm) -> Grid:
    """One row per published criterion: our counts under it."""
    counts: dict[str, CriterionCounts] = {
        "minder": norm["minder"],
        "anthropic": norm["anthropic"],
        "reference": norm["reference"],
    }
    rows = []
    for criterion in CRITERIA:
        found = counts[criterion.name]
        cells = (found["base_only"], found.get("shared"), found["between"], found["it_only"])
        rows.append(Row(rule(criterion), list(map(grid.number, cells))))
    heads = ["criterion", "base-only", "shared", "between", "IT-only"]
    return Grid("Live latents under the published criteria", heads, rows)


def rule(criterion: Criterion) -> str:
    """The criterion in words: its source, and the r of its exclusive latents."""
    source = criterion.source.split(",")[0]
    return f"{source}: r < {criterion.low:.3g}, r > {criterion.high:.3g}"


def clusters(norm: RelativeNorm) -> str:
    strict, loose = norm["anthropic"], norm["minder"]
    return (
        "Each latent has one decoder vector per model. Its relative norm r tells whose vector is "
        "longer: 0 means only the base model uses the latent, 1 only the IT model, 0.5 both "
        f"alike. By the usual criterion (r above 5/6 or below 1/6) {loose['it_only']:,} latents "
        f"look IT-only and {loose['base_only']:,} base-only; by the strict one (above 0.95 or "
        f"below 0.05) {strict['it_only']:,} and {strict['base_only']:,}. "
        f"{norm['reference'].get('shared', 0):,} lie between 0.3 and 0.7. {norm['n_dead']:,} of "
        f"{norm['n_latents']:,} latents never fired in {norm['dead_window_tokens']:,} held-out "
        "tokens and are left out."
    )


def angles(cosine: DecoderCosine) -> str:
    median, unlike = cosine["median"], cosine["n_below_0.1"]
    if median is None:
        return "No live latent is shared, so there are no decoder angles to compare."
    turned = (
        f"{unlike:,} have a cosine below 0.1: the same latent writes something else in each model."
        if unlike
        else "none has a cosine below 0.1."
    )
    return (
        f"Among the {cosine['n_shared']:,} shared latents the two decoders "
        f"{'mostly agree' if median > 0.9 else 'often differ'} in direction (median cosine "
        f"{median:.2f}); {turned}"
    )


def shown_latents(latents: LatentColumns, sources: Sequence[str]) -> Table:
    """Columns of the scatter: the exclusive latents and an even sample of the other live ones."""
    live = [latent for latent, norm_bin in enumerate(latents["bin"]) if norm_bin != "dead"]
    exclusive = [latent for latent in live if latents["bin"][latent] in EXCLUSIVE_BINS]
    others = [latent for latent in live if latents["bin"][latent] not in EXCLUSIVE_BINS]
    rows = exclusive + others[:: max(1, -(-len(others) // N_SHOWN_LATENTS))]
    share = source_shares(latents, sources)[sources[-1]]
    rates = source_rates(latents, sources)
    columns: Table = {
        "latent": rows,
        "relative_norm": [latents["relative_norm"][row] for row in rows],
        "decoder_cosine": [latents["decoder_cosine"][row] for row in rows],
        **{f"rate_{source}": [rate[row] for row in rows] for source, rate in rates.items()},
        "share": [round(share[row], 5) for row in rows],
    }
    return columns | {"cluster": [cluster_of(r) for r in columns["relative_norm"]]}
