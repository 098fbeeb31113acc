"""What the numbers say, in plain words, and how far to trust them."""

from typing import Any

from pipeline.analysis.findings import Findings, Row

MOSTLY = 0.5
"""A latent fires mainly on a class of token when more than this share of its firing is there."""
POOR_FVE = 0.7
MANY_DEAD = 0.2
SHRINKING_KINDS = ("l1", "dsf")
"""Variants whose L1 penalty makes the artefacts of Minder et al. 2025."""


def headline(findings: Findings) -> str:
    """One sentence: how many latents look as if fine-tuning made or removed them."""
    counts, live = findings.relative_norm["minder"], findings.relative_norm["n_live"]
    return (
        f"Of {live:,} live latents, {_count(counts['it_only'])} look added by fine-tuning and "
        f"{_count(counts['base_only'])} look lost; {_count(_shared(findings))} are shared by both "
        "models."
    )


def _count(n: int) -> str:
    return f"{n:,}" if n else "none"


def _shared(findings: Findings) -> int:
    return findings.relative_norm["reference"]["shared"]


def paragraphs(findings: Findings) -> list[str]:
    """What was found: the clusters, what the exclusive latents fire on, the shared ones' angle."""
    return [
        _clusters(findings),
        _verdicts(findings),
        *_exclusive(findings),
        _cosine(findings),
    ]


def _clusters(findings: Findings) -> str:
    norm = findings.relative_norm
    strict, loose = norm["anthropic"], norm["minder"]
    return (
        "Each latent has one decoder vector per model. Its relative norm r tells whose vector is "
        "longer: 0 means only the base model uses the latent, 1 only the IT model, 0.5 both "
        f"alike. By the usual criterion (r above 5/6 or below 1/6) {loose['it_only']:,} latents "
        f"are IT-only and {loose['base_only']:,} base-only; by the strict one (above 0.95 or "
        f"below 0.05) {strict['it_only']:,} and {strict['base_only']:,}. "
        f"{norm['reference']['shared']:,} lie between 0.3 and 0.7, where latents are called "
        f"shared. {norm['n_dead']:,} of {norm['n_latents']:,} latents never fired in "
        f"{norm['dead_window_tokens']:,} held-out tokens and are left out."
    )


def _verdicts(findings: Findings) -> str:
    found = findings.scaling
    called = found["called_exclusive_by_norm"]
    if not called:
        return (
            f"Latent scaling, which asks the activations rather than the norms, finds "
            f"{found['it_only']:,} IT-only and {found['base_only']:,} base-only latents."
        )
    return (
        "Norms can mislead, so latent scaling asks the activations instead: is the latent’s "
        f"direction really absent from the other model? Of the {called:,} latents that the norms "
        f"call exclusive it confirms {found['of_these_confirmed']:,} and refutes "
        f"{found['of_these_refuted']:,}; for the rest the held-out data do not decide. In all it "
        f"finds {found['it_only']:,} IT-only and {found['base_only']:,} base-only latents."
    )


def _exclusive(findings: Findings) -> list[str]:
    chosen = [row for row in findings.latents if row["bin"] == "it_only"]
    if not chosen:
        return []
    template = sum(template_share(findings, row) > MOSTLY for row in chosen)
    chat = sum(chat_share(row) > MOSTLY for row in chosen)
    return [
        f"Of the {len(chosen):,} IT-only latents, {chat:,} fire more often on chat than on text, "
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
            "The headline counts decoder norms alone, and an L1 penalty is known to overstate "
            "them: it can shrink a weaker base decoder to zero (Complete Shrinkage) or split one "
            "shared concept in two (Latent Decoupling). Minder et al. 2025 count 3,176 IT-only "
            "latents with L1 and 134 with BatchTopK on the same models. Trust the verdicts more."
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


def chat_share(row: Row) -> float:
    """Share of a latent's firing that is on chat, were there as much text as chat."""
    total = row["rate_pile"] + row["rate_chat"]
    return row["rate_chat"] / total if total else 0.0


def template_share(findings: Findings, row: Row) -> float:
    """Share of the tokens a latent fires on that are template tokens."""
    groups = findings.evaluation["reconstruction"]
    fired = row["rate_all"] * groups["all"]["n_tokens"]
    return row["rate_template"] * groups["template"]["n_tokens"] / fired if fired else 0.0


def _value(figures: dict[str, Any], name: str) -> float:
    value = figures[name]["value"]
    return float("nan") if value is None else value
