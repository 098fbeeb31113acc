"""What the numbers say, in plain words, and how far to trust them."""

from typing import Any

from pipeline.report.results import Findings
from pipeline.report.sections.causal import causal_sentence
from pipeline.report.shares import chat_share, template_share

MOSTLY = 0.5
"""A latent fires mainly on a class of token when more than this share of its firing is there."""
POOR_FVE = 0.7
MANY_DEAD = 0.2
SHRINKING_KINDS = ("l1", "dsf")
"""Variants whose L1 penalty makes the artefacts of Minder et al. 2025."""


def headline(findings: Findings) -> str:
    """One sentence: how many latents fine-tuning made or removed, and how many stayed."""
    found, live = findings.scaling, findings.relative_norm["n_live"]
    return (
        f"Of {live:,} live latents {_count(found['shared'])} are shared by both models, "
        f"{_count(found['it_only'])} surely exist in the fine-tuned model alone and "
        f"{_count(found['base_only'])} in the base model alone; for {_count(found['undecided'])} "
        "the data do not decide."
    )


def _count(n: int) -> str:
    return f"{n:,}" if n else "none"


def paragraphs(findings: Findings) -> list[str]:
    """What was found: verdicts, norms, what exclusive latents fire on, the angle of shared ones."""
    return [
        _verdicts(findings),
        _clusters(findings),
        *_exclusive(findings),
        _cosine(findings),
        *causal_sentence(findings),
    ]


def _clusters(findings: Findings) -> str:
    norm = findings.relative_norm
    strict, loose = norm["anthropic"], norm["minder"]
    return (
        "Each latent has one decoder vector per model. Its relative norm r tells whose vector is "
        "longer: 0 means only the base model uses the latent, 1 only the IT model, 0.5 both "
        f"alike. By the usual criterion (r above 5/6 or below 1/6) {loose['it_only']:,} latents "
        f"look IT-only and {loose['base_only']:,} base-only; by the strict one (above 0.95 or "
        f"below 0.05) {strict['it_only']:,} and {strict['base_only']:,}. "
        f"{norm['reference']['shared']:,} lie between 0.3 and 0.7. {norm['n_dead']:,} of "
        f"{norm['n_latents']:,} latents never fired in {norm['dead_window_tokens']:,} held-out "
        "tokens and are left out."
    )


def _verdicts(findings: Findings) -> str:
    found = findings.scaling
    called = found["called_exclusive_by_norm"]
    asked = (
        "A verdict asks the activations, not the decoder’s length: is the latent’s direction "
        "really absent from the other model, at a false discovery rate of "
        f"{found['max_false_discovery_rate']:.0%} over documents? "
    )
    if not called:
        return asked + "No latent looks exclusive by norm, so there was nothing to refute."
    return asked + (
        f"Of the {called:,} latents that the norms call exclusive it confirms "
        f"{found['of_these_confirmed']:,} and refutes {found['of_these_refuted']:,}"
        + ("." if _decided(found) else "; for the rest the held-out data do not decide.")
    )


def _decided(found: dict[str, Any]) -> bool:
    decided = found["of_these_confirmed"] + found["of_these_refuted"]
    return decided == found["called_exclusive_by_norm"]


def _exclusive(findings: Findings) -> list[str]:
    verdicts = findings.verdicts["verdict"]
    chosen = [row for row in findings.latents if verdicts[row["latent"]] == "it_only"]
    of = "IT-only latents"
    if not chosen:
        chosen = [row for row in findings.latents if row["bin"] == "it_only"]
        of = "latents that look IT-only by norm"
    if not chosen:
        return []
    template = sum(template_share(findings, row) > MOSTLY for row in chosen)
    chat = sum(chat_share(row) > MOSTLY for row in chosen)
    return [
        f"Of the {len(chosen):,} {of}, {chat:,} fire more often on chat than on text, "
        f"and {template:,} fire mainly on template tokens (the “User:” and “Assistant:” around "
        "each turn)."
    ]


def _cosine(findings: Findings) -> str:
    cosine = findings.decoder_cosine
    if not cosine["n_shared"]:
        return "No live latent is shared, so there are no decoder angles to compare."
    unlike = cosine["n_below_0.1"]
    turned = (
        f"{unlike:,} have a cosine below 0.1: the same latent writes something else in each model."
        if unlike
        else "none has a cosine below 0.1."
    )
    return (
        f"Among the {cosine['n_shared']:,} shared latents the two decoders "
        f"{'mostly agree' if cosine['median'] > 0.9 else 'often differ'} in direction (median "
        f"cosine {cosine['median']:.2f}); {turned}"
    )


def cautions(findings: Findings) -> list[str]:
    """Reasons to doubt the counts, the weightiest first."""
    everything = findings.evaluation["reconstruction"]["all"]
    found: list[str] = []
    kind = findings.config["crosscoder"]["kind"]
    if kind in SHRINKING_KINDS:
        found.append(
            "Decoder norms alone overstate what is exclusive under an L1 penalty: it can shrink a "
            "weaker base decoder to zero (Complete Shrinkage) or split one shared concept in two "
            "(Latent Decoupling). Minder et al. 2025 count 3,176 IT-only latents with L1 and 134 "
            "with BatchTopK on the same models. Trust the verdicts more."
        )
    fve = min(_value(everything, "fve_base"), _value(everything, "fve_it"))
    if fve < POOR_FVE:
        found.append(
            f"The crosscoder explains only {fve:.0%} of the variance of the worse-fitted model: "
            "what it misses, no latent can show."
        )
    difference = _value(everything, "fve_difference")
    found.append(
        f"Of the difference between the two models’ activations it explains {difference:.0%}."
        + ("" if difference > 0.5 else " Most of what fine-tuning changed is not in its latents.")
    )
    dead = findings.evaluation["dead_latents"] / findings.evaluation["n_latents"]
    if dead > MANY_DEAD:
        found.append(
            f"{dead:.0%} of the latents are dead, so the dictionary is smaller than it looks."
        )
    return found


def _value(figures: dict[str, Any], name: str) -> float:
    value = figures[name]["value"]
    return float("nan") if value is None else value
