"""The list of changes as claims: each in words, with the figures that stand behind it."""

from collections import Counter
from typing import cast

from pipeline.analysis.changes.result import CHANGES, Change, ChangeList
from pipeline.claims import Claim, Evidence, Kind, MeasuredChange
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, number, percent
from pipeline.report.labels import KIND_NAMES
from pipeline.results import fields_of

N_PROMOTED = 5
"""Tokens told of what a change promotes."""
MIN_TOKEN, MIN_SOURCE = 0.1, 0.8
"""Share of a change that a token must have for the change to act on it, and of a source for the
change to be called one of that source."""
MIN_TOKENS = 0.5
"""Share that such tokens must have together: else the change acts on contexts, not on tokens."""


def change_claims(findings: Findings) -> list[Claim]:
    """Every listed change, the largest first; none where there is no list, or nothing is on it."""
    result, limit = findings.find(CHANGES), findings.config.changes.min_common
    return [claim_of(change, limit) for change in result["changes"]] if result else []


def claim_of(change: Change, min_common: float) -> Claim:
    claim: Claim = {
        "says": f"{says(change, min_common)}{within(change)}",
        "kind": cast(Kind, change["kind"]),
        "change": change["change"],
        "examples": [{**example} for example in change["examples"]],
        "promotes": promotes(change),
        "measured": measured(change),
    }
    if tokens := acts_on(change):
        claim["acts_on"] = tokens
    return claim


def measured(change: Change) -> MeasuredChange:
    """The figures behind a claim."""
    return {
        "likely_kind": change["likely_kind"],
        "share": change["share"],
        "weight": {
            "says": weighs(change),
            "made": change["made"],
            "undone": change["undone"],
            "made_random": change["made_random"],
        },
        "evidence": fields_of(Evidence, change),
        "tokens": change["tokens"],
        "sources": change["sources"],
        "latents": [{**latent} for latent in change["latents"]],
    }


def outcome(result: ChangeList) -> str:
    """The list in one sentence: how many changes of which kinds, and what they account for."""
    if not result["changes"]:
        return (
            "No change was found: nothing surely carries more than "
            f"{percent(result['min_share'])} of the difference between the two models."
        )
    kinds = Counter(change["kind"] for change in result["changes"])
    named = [f"{n} {KIND_NAMES.get(kind, kind)}" for kind, n in kinds.most_common()]
    n = result["n_listed"]
    return (
        f"Fine-tuning made {n} change{'s' * (n != 1)} large enough to name: {', '.join(named)}. "
        f"Together they account for {percent(result['share_listed'], 0)} of the difference between "
        "the two models."
    )


def says(change: Change, min_common: float) -> str:
    """What is different, in words, with the figures that decided the kind.

    min_common: of `changes`; the kind of rows that have less in common is read along the direction
        of the change alone, and so is what is said of them
    """
    on = "On every token" if change["broad"] else f"On {percent(change['rate'])} of the tokens"
    match change["kind"]:
        case "new":
            return f"{on} the fine-tuned model writes something that the base model does not have."
        case "lost":
            return f"{on} the base model writes something that the fine-tuned model has lost."
        case "moved":
            return f"{on} only one model writes this; the other writes it on other tokens."
        case "mean_shift":
            return "Every token is moved by one and the same vector: no latent is needed for it."
        case "scale_shift":
            return "All activations are longer or shorter by one factor: no latent is needed."
        case _:
            is_common = (change["common"] or 0.0) >= min_common
            how = both_write(change) if is_common else along_one_direction(change)
    if change["kind"] != "undecided":
        return f"{on}, {how}."
    likely = KIND_NAMES.get(change["likely_kind"], change["likely_kind"])
    return (
        f"{on} the two models surely differ, and the data do not say how; it looks {likely}: {how}."
    )


def both_write(change: Change) -> str:
    """How what both models write on the rows turns and grows."""
    cosine, ratio = fixed(change["cosine"]["value"], 2), number(change["strength_ratio"]["value"])
    match change["kind"]:
        case "undecided":
            return f"cosine {cosine}, strength ratio {ratio}"
        case "turned":
            return f"both models respond, but write in different directions (cosine {cosine})"
        case kind:
            only = "only " * (kind == "weaker")
            return f"both write the same, the fine-tuned model {only}{ratio} times as strongly"


def along_one_direction(change: Change) -> str:
    """How much of what base writes along the direction of the change IT writes there."""
    ratio, there = ratio_along(change), "what the base model writes there"
    wrote = f"{number(ratio)} times {there}"
    if ratio is not None and ratio < 0:
        wrote = f"the opposite of {there}, {number(-ratio)} times as strongly"
    return f"along one direction, the fine-tuned model writes {wrote}"


def ratio_along(change: Change) -> float | None:
    """IT over base along the direction of the change, where base is at `beta` times the change and
    IT at `beta` + 1; None where base is at nothing, and for a shift."""
    return 1 + 1 / change["beta"] if change["beta"] else None


def within(change: Change) -> str:
    """The source that has nearly all of a change, where there are several and one has."""
    name, share = max(change["sources"], key=lambda item: item[1], default=("", 0.0))
    is_one = len(change["sources"]) > 1 and share >= MIN_SOURCE
    return f" {percent(share, 0)} of it lies in the source {name}." if is_one else ""


def acts_on(change: Change) -> list[str]:
    """The tokens that the change acts on; none where it acts on contexts."""
    found = [(token, share) for token, share in change["tokens"] if share >= MIN_TOKEN]
    are_all = sum(share for _, share in found) >= MIN_TOKENS
    return [token for token, _ in found] if are_all else []


def promotes(change: Change) -> list[str]:
    """The tokens that the change promotes in the model that has it."""
    side = "promotes_in_base" if change["kind"] == "lost" else "promotes_in_it"
    return [token for token, _ in change[side][:N_PROMOTED]]


def weighs(change: Change) -> str:
    """What the change alone does to the predictions, empty where that was not measured."""
    made, undone, random = (change[name]["value"] for name in ("made", "undone", "made_random"))
    if made is None:
        return ""
    beside = "" if random is None else f" (random latents that fire as often: {percent(random)})"
    other = "" if undone is None else f", undone in the fine-tuned model it {moves(undone)} it"
    return (
        f"Made in the base model alone it {moves(made)} the distance (KL) between the two models’ "
        f"predictions{other}{beside}."
    )


def moves(share: float) -> str:
    """What removing a share of the distance is called; less than none is a part that comes."""
    return f"adds {percent(-share)} to" if share < 0 else f"takes {percent(share)} off"
