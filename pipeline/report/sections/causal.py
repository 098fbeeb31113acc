"""The section on the causal test: how much of the KL between the models sets of latents remove."""

from functools import partial

from pipeline.analysis.causal.chart import LABELS, causal_figure
from pipeline.analysis.causal.result import CAUSAL, CAUSAL_COLUMNS, Causal
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import percent, share
from pipeline.report.grid import Grid, Row
from pipeline.report.section import Chart, Section, Shown
from pipeline.results import table


def show(findings: Findings) -> Shown | None:
    result = findings.find(CAUSAL)
    if result is None:
        return None
    columns = table(findings.read(CAUSAL_COLUMNS))
    chart = Chart(caption(result), 80 + 24 * len(result["patches"]), columns, causal_figure)
    return Shown({"causal": chart}, {"patches": patches(result)}, {"causal": result}, told(result))


SECTION = Section("causal", "Causal test", show)


NO_REPLY = "No sequence of the test holds a reply of the assistant, so nothing was measured on one"


def has_replies(result: Causal) -> bool:
    """Whether the sequences of the test hold tokens that an assistant has written."""
    return any(found["tokens"]["first"]["n_predictions"] for found in result["patches"].values())


def removed(result: Causal, patch: str) -> float | None:
    """Share of the KL that a patch removes on the first tokens of a response."""
    found = result["patches"].get(patch)
    return found["tokens"]["first"]["removed"]["value"] if found else None


def patches(result: Causal) -> Grid:
    """One row per patch: latents in it, and by group of tokens what it removes of the KL."""
    rows = []
    for patch, name in LABELS.items():
        if patch not in result["patches"]:
            continue
        found = result["patches"][patch]
        first, later = found["tokens"]["first"], found["tokens"]["later"]
        two = partial(grid.measured, digits=2)
        cells = [
            grid.number(found["n_latents"]),
            grid.measured(first["kl"]),
            two(first["removed"]),
            two(first.get("over_random")),
            two(later["removed"]),
            two(later.get("over_random")),
        ]
        rows.append(Row(name, cells, "control" if patch.startswith("random_") else ""))
    return Grid(
        f"Share of the KL removed by each set, {percent(result['confidence'], 0)} intervals over "
        "sequences",
        [
            *("what is added to the base activation", "latents", "KL, first tokens"),
            *("removed, first tokens", "above random", "removed, later tokens", "above random"),
        ],
        rows,
    )


def caption(result: Causal) -> str:
    names = {"all": "All latents remove", "nu_low": "the half with the lowest ν"}
    if not has_replies(result):
        return NO_REPLY
    if removed(result, "all") is None:
        return "There is no KL between base and IT to remove"
    names |= {"random_nu_low": "random ones that fire as often"}
    return (
        ", ".join(
            f"{name} {share(removed(result, patch))}"
            for patch, name in names.items()
            if patch in result["patches"]
        )
        + " of the KL between base and IT on the first tokens of a response"
    )


def told(result: Causal) -> list[str]:
    """What intervening shows: all latents, those the other model has least of, and random ones."""
    if not has_replies(result):
        return [f"{NO_REPLY}: raise causal.n_sequences, or name chats with replies."]
    if removed(result, "all") is None:
        return [
            "Put into the base model’s activations, latents change nothing that could be measured."
        ]
    low, random = removed(result, "nu_low"), removed(result, "random_nu_low")
    beside = (
        ""
        if low is None or random is None
        else f"; the half that base has least of (lowest ν) covers {share(low)}, random latents "
        f"that fire as often {share(random)}"
    )
    return [
        "Put into the base model’s activations, all latents together cover "
        f"{share(removed(result, 'all'))} of the distance (KL) to the IT model on the first "
        f"{result['n_first_tokens']} tokens of a response{beside}.{conclusion(result)}"
    ]


def conclusion(result: Causal) -> str:
    """Whether nu picks latents that matter more than their firing rates explain."""
    found = result["patches"].get("nu_low")
    over = found["tokens"]["first"].get("over_random") if found else None
    if over is None or over["low"] is None or over["high"] is None:
        return ""
    if over["low"] > 0:
        return " So ν picks latents that matter more than their firing rates explain."
    if over["high"] < 0:
        return " So ν picks worse than random latents that fire as often."
    return " So ν picks no better than random latents that fire as often."
