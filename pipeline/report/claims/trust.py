"""How far to trust what is claimed, by the limits of the section `report`."""

from pipeline.analysis.changes.result import CHANGES
from pipeline.analysis.evaluation.result import EVALUATION
from pipeline.report.findings import Findings
from pipeline.report.format import percent, share
from pipeline.results import Measured, applicable

SHRINKING_KINDS = ("l1", "dsf")
"""Variants whose L1 penalty makes the artefacts of Minder et al. 2025."""


def models_differ(findings: Findings) -> bool:
    """Whether the models' difference varies over the held-out tokens."""
    everything = findings.read(EVALUATION)["reconstruction"]["all"]
    return everything["fve_difference"]["value"] is not None


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
        found.append(f"it explains {share(difference)} of the difference between the models")
    return found


def in_short(findings: Findings) -> str:
    """What the list and the verdicts rest on, in two sentences at most; empty where the models do
    not differ, or where the warning on the crosscoder says more and there is no list."""
    if not models_differ(findings):
        return ""
    changes, told = findings.find(CHANGES), []
    if changes and changes["changes"]:
        chance = percent(changes["max_false_discovery_rate"], 0)
        told.append(
            "the list was made on training documents and tested on held-out ones, by tests that "
            f"leave at most {chance} of its entries to chance"
        )
    if not failings(findings):
        everything = findings.read(EVALUATION)["reconstruction"]["all"]
        fve, difference = (share(value(everything[n])) for n in ("fve_both", "fve_difference"))
        told.append(
            f"the crosscoder, from which the verdicts on latents come, explains {fve} of the "
            f"variance of the two models and {difference} of their difference"
        )
    return f"How far to trust it: {'; '.join(told)}." if told else ""


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
            f"The crosscoder explains only {share(fve)} of the variance of the worse-fitted model: "
            "what it misses, no latent can show."
        )
    if models_differ(findings):
        difference = value(everything["fve_difference"])
        most = " Most of what fine-tuning changed is not in its latents."
        found.append(
            "Of what the difference between the two models’ activations does beyond its mean the "
            f"crosscoder explains {share(difference)}." + ("" if difference > 0.5 else most)
        )
        found += a_few_rows(findings)
    dead = result["dead_latents"] / result["n_latents"]
    if dead > limits.max_dead_share:
        found.append(
            f"{dead:.0%} of the latents are dead, so the dictionary is smaller than it looks."
        )
    return found


def a_few_rows(findings: Findings) -> list[str]:
    """What is said where the size of the difference depends so much on which sequences are drawn
    that a few rows must hold most of it; nothing where it does not."""
    size = findings.read(EVALUATION)["reconstruction"]["all"]["difference_share"]
    low, high = size["low"], size["high"]
    most = findings.config.report.max_difference_ratio
    if low is None or high is None or high <= most * low or hardly_differ(findings):
        return []
    used = findings.config.dump.max_norm_ratio
    remedy = "`dump.max_norm_ratio: 5`" if used is None else "A lower `dump.max_norm_ratio`"
    return [
        f"As the sequences fall, the difference has {share(low)} to {share(high)} of the variance "
        "of an activation: a few tokens hold most of it, and so of every share of it on this page. "
        f"{remedy} leaves outlier rows out."
    ]


def hardly_differ(findings: Findings) -> str:
    """What a small difference leaves of every figure that is a share of it; empty where the
    difference is no small one, or none."""
    everything = findings.read(EVALUATION)["reconstruction"]["all"]
    size = value(everything["difference_share"])
    if not (models_differ(findings) and size < findings.config.report.min_difference_share):
        return ""
    part = f"one part in {1 / size:,.0f}" if size > 0 else "none"
    return (
        f"The two models hardly differ at this hook point: their difference has {part} of the "
        "variance of an activation, which rounding alone can make, and every share of the "
        "difference on this page is a share of that. "
    )


def value(figure: Measured) -> float:
    """The figure's value, NaN where it is not defined: no comparison with it holds."""
    return float("nan") if figure["value"] is None else figure["value"]
