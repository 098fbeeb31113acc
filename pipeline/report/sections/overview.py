"""The first screen: what was found in a sentence, how well the crosscoder fits, where to look."""

from pathlib import Path

from pipeline.analysis.baselines.result import BASELINES
from pipeline.analysis.changes.result import CHANGES
from pipeline.analysis.decoders.geometry import EXCLUSIVE_BINS
from pipeline.analysis.decoders.result import RELATIVE_NORM
from pipeline.analysis.evaluation.result import EVALUATION, LATENTS
from pipeline.analysis.verdicts.result import VERDICT_COUNTS, VERDICTS
from pipeline.config.models import ModelConfig
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, percent
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import VERDICT_COLOURS, VERDICT_NAMES
from pipeline.report.section import Section, Shown
from pipeline.report.sections.baselines import rivals
from pipeline.report.sections.changes import Told, outcome, told
from pipeline.report.sections.verdicts import reason
from pipeline.results import Measured, applicable

SHRINKING_KINDS = ("l1", "dsf")
"""Variants whose L1 penalty makes the artefacts of Minder et al. 2025."""
N_FIRST = 8


def show(findings: Findings) -> Shown:
    models, changes = findings.config.models, findings.find(CHANGES)
    first, baselines = first_latents(findings), findings.find(BASELINES)
    tables = {"first": first} if first.rows else {}
    return Shown(
        tables=tables | ({"rivals": rivals(baselines)} if baselines else {}),
        facts={
            "lead": lead(findings),
            "changes": first_changes(findings),
            "exclusive": headline(findings) if changes else "",
            "failings": failings(findings),
            "cautions": cautions(findings),
            "counts": findings.read(VERDICT_COUNTS),
            "split": split(findings),
            "tiles": tiles(findings),
            "pair": (model_name(models.base), model_name(models.it)),
            "date": findings.runs[-1].began[:10] if findings.runs else "",
            "layer": findings.config.hook_point.layer if findings.has_models else None,
        },
    )


SECTION = Section("overview", "Overview", show)


def first_changes(findings: Findings) -> list[Told]:
    """The largest changes in words; none where there is no list, or nothing is on it."""
    result = findings.find(CHANGES)
    n = findings.config.report.n_changes
    return [told(change) for change in result["changes"][:n]] if result else []


def lead(findings: Findings) -> str:
    """What was found: that nothing can differ, the changes, or else the verdicts."""
    if are_equal(findings):
        return EQUAL
    changes = findings.find(CHANGES)
    return outcome(changes) if changes else headline(findings)


EQUAL = (
    "The two models are equal at this hook point: their activations differ on no held-out token, "
    "so there is nothing to find."
)


def are_equal(findings: Findings) -> bool:
    """Whether the models' difference varies over no held-out token."""
    return findings.read(EVALUATION)["reconstruction"]["all"]["fve_difference"]["value"] is None


def headline(findings: Findings) -> str:
    """One sentence: how many latents fine-tuning made, removed or altered, and how many stayed."""
    found, live = findings.read(VERDICT_COUNTS), findings.read(RELATIVE_NORM)["n_live"]
    altered = {name: found[name] for name in ("turned", "stronger", "weaker", "moved")}
    named = ", ".join(f"{n:,} {name}" for name, n in altered.items() if n)
    return (
        f"Of {live:,} live latents {count(found['it_only'])} surely exist in the fine-tuned model "
        f"alone and {count(found['base_only'])} in the base model alone; both models have "
        f"{count(found['shared'])} alike and {count(sum(altered.values()))} differently"
        f"{f' ({named})' if named else ''}; for {count(found['undecided'])} the data do not decide."
    )


def split(findings: Findings) -> list[tuple[str, str, str, int]]:
    """Verdict, its name, its colour and how many latents have it, as they stand beside each other
    from base to IT."""
    found = findings.read(VERDICT_COUNTS)
    shown = {"base_only": found["base_only"], "shared": found["shared"], "weaker": found["weaker"]}
    shown |= {"turned": found["turned"], "moved": found["moved"], "stronger": found["stronger"]}
    shown |= {"undecided": found["undecided"], "it_only": found["it_only"]}
    return [(name, VERDICT_NAMES[name], VERDICT_COLOURS[name], n) for name, n in shown.items()]


def count(n: int) -> str:
    return f"{n:,}" if n else "none"


def tiles(findings: Findings) -> list[tuple[str, str, str]]:
    """Name, value and meaning of the figures that say how well the crosscoder fits."""
    result = findings.read(EVALUATION)
    everything = result["reconstruction"]["all"]
    found = [
        ("L0", fixed(everything["l0"]["value"], 1), "latents on per token"),
        ("FVE", percent(everything["fve_both"]["value"]), "of the variance explained, both models"),
        (
            "FVE of the difference",
            percent(everything["fve_difference"]["value"]),
            "of what differs between the models",
        ),
    ]
    splice = applicable(result["splice"]) or {}
    return found + [
        (
            f"ΔCE {name}",
            fixed(splice[model]["all"]["delta_ce_spliced"]["value"]),
            "nats lost when spliced in",
        )
        for model, name in (("base", "base"), ("it", "IT"))
        if splice
    ]


def failings(findings: Findings) -> list[str]:
    """Why the crosscoder is no basis for conclusions, by the limits of the section `report`; empty
    where it is one."""
    result, limits = findings.read(EVALUATION), findings.config.report
    everything, found = result["reconstruction"]["all"], []
    l0, n_latents = value(everything["l0"]), result["n_latents"]
    if l0 > limits.max_l0_share * n_latents:
        found.append(
            f"{l0:,.0f} of its {n_latents:,} latents are on per token, so it is not sparse"
        )
    splice = applicable(result["splice"]) or {}
    lost = {m: value(splice[m]["all"]["delta_ce_spliced"]) for m in ("base", "it") if splice}
    if any(nats > limits.max_delta_ce_nats for nats in lost.values()):
        found.append(
            f"spliced in, it costs the base model {lost['base']:.1f} and the IT model "
            f"{lost['it']:.1f} nats per token"
        )
    difference = value(everything["fve_difference"])
    if difference < limits.min_fve_difference:
        found.append(f"it explains {difference:.0%} of the difference between the models")
    return found


def cautions(findings: Findings) -> list[str]:
    """Reasons to doubt the counts, the weightiest first."""
    result, limits = findings.read(EVALUATION), findings.config.report
    everything, found = result["reconstruction"]["all"], []
    if findings.config.crosscoder.kind in SHRINKING_KINDS:
        found.append(
            "Decoder norms alone overstate what is exclusive under an L1 penalty: it can shrink a "
            "weaker base decoder to zero (Complete Shrinkage) or split one shared concept in two "
            "(Latent Decoupling). Minder et al. 2025 count 3,176 IT-only latents with L1 and 134 "
            "with BatchTopK on the same models. Trust the verdicts more."
        )
    fve = min(value(everything["fve_base"]), value(everything["fve_it"]))
    if fve < limits.good_fve:
        found.append(
            f"The crosscoder explains only {fve:.0%} of the variance of the worse-fitted model: "
            "what it misses, no latent can show."
        )
    if not are_equal(findings):
        difference = value(everything["fve_difference"])
        most = " Most of what fine-tuning changed is not in its latents."
        found.append(
            f"Of the difference between the two models’ activations it explains {difference:.0%}."
            + ("" if difference > 0.5 else most)
        )
    dead = result["dead_latents"] / result["n_latents"]
    if dead > limits.max_dead_share:
        found.append(
            f"{dead:.0%} of the latents are dead, so the dictionary is smaller than it looks."
        )
    return found


def value(figure: Measured) -> float:
    """The figure's value, NaN where it is not defined: no comparison with it holds."""
    return float("nan") if figure["value"] is None else figure["value"]


def first_latents(findings: Findings) -> Grid:
    """Latents that a verdict or the norms call exclusive: those that no test refutes first, then
    what differs otherwise, and among equals those that fire most. Each has the reason of its
    verdict."""
    verdicts, latents = findings.read(VERDICTS), findings.read(LATENTS)

    def rank(latent: int) -> int:
        if verdicts["verdict"][latent] in EXCLUSIVE_BINS:
            return 0
        if not verdicts["in_both"][latent]:
            return 1
        return 3 if verdicts["verdict"][latent] == "shared" else 2

    chosen = [
        latent
        for latent, verdict in enumerate(verdicts["verdict"])
        if verdict in EXCLUSIVE_BINS or verdicts["norm_bin"][latent] in EXCLUSIVE_BINS
    ]
    chosen.sort(key=lambda latent: (rank(latent), -latents["rate_all"][latent]))
    rows = []
    for latent in chosen[:N_FIRST]:
        seen, verdict = findings.excerpts.get(latent), verdicts["verdict"][latent]
        cells = [
            grid.word(VERDICT_NAMES.get(verdict, verdict), verdict),
            grid.word(reason(findings, latent), "reason"),
            grid.fixed(verdicts["relative_norm"][latent], 2),
            grid.percent(latents["rate_all"][latent], 2),
            grid.excerpt(seen.before, seen.token, seen.after) if seen else grid.word("–"),
            grid.tokens(seen.promotes[:3] if seen else []),
        ]
        rows.append(Row(grid.latent_link(latent), cells))
    return Grid(
        "Latents that look exclusive: those that no test refutes come first",
        [
            *("latent", "verdict", "why", "r", "fires on", "strongest example"),
            "its IT side promotes",
        ],
        rows,
        "first",
    )


def model_name(spec: ModelConfig) -> str:
    """What a reader calls a model of the section `models`."""
    match spec.kind:
        case "hub":
            return spec.repo
        case "local":
            return Path(spec.path).name
        case "trained":
            return f"{spec.architecture} trained here"
        case "none":
            return "planted rows, no model"
        case "tuned":
            return f"{spec.of} model, tuned here"
        case "edited":
            return f"{spec.of} model, edited here"
        case "adapter":
            return model_name(spec.adapter)
