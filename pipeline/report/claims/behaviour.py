"""What fine-tuning changed in behaviour: the text that the IT model predicts better, and worse."""

from collections.abc import Mapping

from pipeline.analysis.evaluation.result import EVALUATION
from pipeline.models.result import PAIR
from pipeline.report.findings import Findings
from pipeline.report.format import fixed
from pipeline.results import applicable

MIN_NATS = 0.05
"""Nats per token that a loss must change by to be told: five percent of a token's probability."""


def behaviour(findings: Findings) -> str:
    """A sentence on the sources of held-out text that the IT model predicts better or worse than
    the base; empty where neither differs by `MIN_NATS`, or there is no model."""
    changes = sorted(loss_changes(findings).items(), key=lambda item: item[1])
    better = [(name, -nats) for name, nats in changes if nats <= -MIN_NATS]
    worse = [(name, nats) for name, nats in reversed(changes) if nats >= MIN_NATS]
    told = [
        f"{listed([name for name, _ in found])} {how} than the base model (loss "
        f"{listed([fixed(nats, 2) for _, nats in found])} nats per token {way})"
        for found, how, way in ((better, "better", "lower"), (worse, "worse", "higher"))
        if found
    ]
    return f"On held-out text the fine-tuned model predicts {', and '.join(told)}." if told else ""


def loss_changes(findings: Findings) -> Mapping[str, float]:
    """Source of held-out text -> cross entropy of IT minus that of base, in nats per token. Where
    a model was made here these are its sources, else those of the mix."""
    pair = findings.find(PAIR)
    if pair is not None and "loss_change_nats" in pair:
        return pair["loss_change_nats"]
    splice = applicable(findings.read(EVALUATION)["splice"])
    if splice is None:
        return {}
    base, it = (
        {name: splice[model][name]["ce_clean"]["value"] for name in findings.sources}
        for model in ("base", "it")
    )
    return {
        name: after - before
        for name, after in it.items()
        if after is not None and (before := base[name]) is not None
    }


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
