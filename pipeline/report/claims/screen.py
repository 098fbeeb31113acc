"""The first screen as data: what was found in a sentence, what is exclusive, fit, trust, rivals."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.analysis.baselines.result import BASELINES
from pipeline.analysis.changes.result import CHANGES
from pipeline.analysis.decoders.geometry import EXCLUSIVE_BINS
from pipeline.analysis.decoders.result import RELATIVE_NORM
from pipeline.analysis.evaluation.result import EVALUATION, LATENTS
from pipeline.analysis.verdicts.result import VERDICT_COUNTS, VERDICTS
from pipeline.claims import (
    VERSION,
    Accounted,
    ClaimsFile,
    Exclusive,
    ExclusiveLatent,
    FirstScreen,
    Fit,
)
from pipeline.config.models import ModelConfig
from pipeline.report.claims.behaviour import behaviour
from pipeline.report.claims.changes import change_claims, outcome
from pipeline.report.claims.trust import cautions, failings, hardly_differ, in_short, models_differ
from pipeline.report.findings import Findings
from pipeline.report.labels import VERDICT_NAMES
from pipeline.report.sections.baselines import rivals
from pipeline.report.sections.verdicts import reason
from pipeline.results import applicable, fields_of

N_LATENTS, N_PROMOTED = 8, 3
"""Latents shown that look exclusive, and tokens told of what each promotes."""
EQUAL = (
    "The two models are equal at this hook point: their activations differ on no held-out token, "
    "so there is nothing to find."
)


def claims_file(findings: Findings, sentences: Sequence[str]) -> ClaimsFile:
    """What `results/findings.json` holds. sentences: what the other sections of the page say"""
    return {
        "version": VERSION,
        "made_by": f"crosscoder-model-diffing, experiment {findings.config.experiment}",
        "first_screen": {**first_screen(findings), "sentences": list(sentences)},
        "changes": change_claims(findings),
    }


def first_screen(findings: Findings) -> FirstScreen:
    """What the first screen claims besides the list, without the other sections' sentences."""
    config, baselines = findings.config, findings.find(BASELINES)
    changes = findings.find(CHANGES)
    return {
        "experiment": config.experiment,
        "base": model_name(config.models.base),
        "it": model_name(config.models.it),
        "layer": config.hook_point.layer if findings.has_models else None,
        "lead": lead(findings),
        "behaviour": behaviour(findings) if models_differ(findings) else "",
        "trust": in_short(findings),
        "models_differ": models_differ(findings),
        "n_shown": config.report.n_changes,
        "accounted": fields_of(Accounted, changes) if changes else None,
        "exclusive": exclusive(findings),
        "fit": fit(findings),
        "failings": failings(findings),
        "cautions": cautions(findings),
        "rivals": rivals(baselines) if baselines else [],
        "sentences": [],
    }


def lead(findings: Findings) -> str:
    """What was found: that nothing, or hardly anything, can differ; the changes, or else the
    verdicts."""
    if not models_differ(findings):
        return EQUAL
    changes = findings.find(CHANGES)
    found = outcome(changes) if changes else headline(findings)
    return f"{hardly_differ(findings)}{found}"


def exclusive(findings: Findings) -> Exclusive:
    found = {**findings.read(VERDICT_COUNTS)}
    return {
        "says": headline(findings),
        "n_live": findings.read(RELATIVE_NORM)["n_live"],
        "verdicts": {name: int(str(found[name])) for name in VERDICT_NAMES},
        "latents": first_latents(findings),
    }


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


def count(n: int) -> str:
    return f"{n:,}" if n else "none"


def first_latents(findings: Findings) -> list[ExclusiveLatent]:
    """Latents that a verdict or the norms call exclusive: those that no test refutes first, then
    what differs otherwise, and among equals those that fire most."""
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
    return [latent_claim(findings, latent) for latent in chosen[:N_LATENTS]]


def latent_claim(findings: Findings, latent: int) -> ExclusiveLatent:
    verdicts, seen = findings.read(VERDICTS), findings.excerpts.get(latent)
    return {
        "latent": latent,
        "verdict": verdicts["verdict"][latent],
        "why": reason(findings, latent),
        "relative_norm": verdicts["relative_norm"][latent],
        "rate": findings.read(LATENTS)["rate_all"][latent],
        "examples": [{"before": seen.before, "token": seen.token, "after": seen.after}]
        if seen
        else [],
        "promotes": seen.promotes[:N_PROMOTED] if seen else [],
    }


def fit(findings: Findings) -> Fit:
    """How well the crosscoder fits; without cross entropies where it was not spliced in."""
    result = findings.read(EVALUATION)
    everything, splice = result["reconstruction"]["all"], applicable(result["splice"]) or {}
    return {
        "l0": everything["l0"],
        "fve": everything["fve_both"],
        "fve_difference": everything["fve_difference"],
        "delta_ce": {name: of["all"]["delta_ce_spliced"] for name, of in splice.items()},
    }


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
