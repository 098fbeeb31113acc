"""The section on changes: what fine-tuning changed, as a ranked and tested list."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.analysis.changes.result import CHANGES, Change, ChangeList
from pipeline.analysis.verdicts.result import VERDICTS
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, number, percent
from pipeline.report.grid import Cell, Grid, Row
from pipeline.report.labels import ALL_VERDICT_NAMES, KIND_NAMES
from pipeline.report.section import Section, Shown

N_PROMOTED, N_DECODER = 5, 3
"""Tokens shown of what a change, and of what a latent's decoder, promotes."""


@dataclass(frozen=True)
class Told:
    """A change in words. kind: its name; says: what is different; weight: what it does to the
    predictions, empty where that was not measured; example: a token in its context, None where the
    change acts on every token alike."""

    rank: int
    kind: str
    kind_class: str
    share: str
    says: str
    promotes: Cell | None
    weight: str
    example: Cell | None


def show(findings: Findings) -> Shown | None:
    result = findings.find(CHANGES)
    if result is None:
        return None
    entries = [
        (told(change), figures(change), latents(change, findings), lens(change), examples(change))
        for change in result["changes"]
    ]
    return Shown(
        tables={"changes": overview(result)} if entries else {},
        facts={"result": result, "entries": entries, "outcome": outcome(result)},
        sentences=[text] if (text := left_out(result)) else [],
    )


SECTION = Section("changes", "Changes", show)


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


def left_out(result: ChangeList) -> str:
    """What the list leaves out of the difference; empty where there is no difference."""
    smaller, rest = result["share_not_listed"], result["share_left"]
    if smaller is None or rest is None:
        return ""
    return (
        f"Of the rest, {percent(smaller, 0)} of the difference lies in changes that are too small "
        f"or too unsure to list, and {percent(rest, 0)} in none that was found."
    )


def told(change: Change) -> Told:
    shown = change["examples"][:1]
    return Told(
        change["rank"],
        KIND_NAMES.get(change["kind"], change["kind"]),
        change["kind"],
        f"{percent(change['share']['value'])} of the difference",
        says(change),
        promotes(change),
        weight(change),
        grid.excerpt(shown[0]["before"], shown[0]["token"], "") if shown else None,
    )


def says(change: Change) -> str:
    """What is different, in words."""
    on = f"On {percent(change['rate'])} of the tokens"
    cosine, ratio = fixed(change["cosine"]["value"], 2), number(change["strength_ratio"]["value"])
    match change["kind"]:
        case "new":
            return f"{on} the fine-tuned model writes something that the base model does not have."
        case "lost":
            return f"{on} the base model writes something that the fine-tuned model has lost."
        case "moved":
            return f"{on} only one model writes this; the other writes it on other tokens."
        case "turned":
            return f"{on} both models respond, but write in different directions (cosine {cosine})."
        case "stronger":
            return f"{on} both write the same, the fine-tuned model {ratio} times as strongly."
        case "weaker":
            return f"{on} both write the same, the fine-tuned model only {ratio} times as strongly."
        case "mean_shift":
            return "Every token is moved by one and the same vector: no latent is needed for it."
        case "scale_shift":
            return "All activations are longer or shorter by one factor: no latent is needed."
        case _:
            likely = KIND_NAMES.get(change["likely_kind"], change["likely_kind"])
            return (
                f"{on} the two models surely differ, and the data do not say how; the figures "
                f"look {likely} (cosine {cosine}, strength ratio {ratio})."
            )


def promotes(change: Change) -> Cell | None:
    """The tokens that the change promotes in the model that has it."""
    side = "promotes_in_base" if change["kind"] == "lost" else "promotes_in_it"
    names = [token for token, _ in change[side][:N_PROMOTED]]
    return grid.tokens(names) if names else None


def weight(change: Change) -> str:
    made, undone, random = (change[name]["value"] for name in ("made", "undone", "made_random"))
    if made is None:
        return ""
    beside = "" if random is None else f" (random latents that fire as often: {percent(random)})"
    other = (
        "" if undone is None else f"; undone in the fine-tuned model, it brings {percent(undone)}"
    )
    return f"Made alone in the base model, it removes {percent(made)} of the KL{beside}{other}."


def overview(result: ChangeList) -> Grid:
    """One row per change."""
    rows = [
        Row(
            grid.link(f"change-{change['rank']}", str(change["rank"])),
            [
                grid.word(KIND_NAMES.get(change["kind"], change["kind"]), change["kind"]),
                Cell(percent(change["share"]["value"]), interval(change)),
                grid.percent(change["rate"], 2),
                grid.measured(change["cosine"], 2),
                grid.measured(change["strength_ratio"], 2),
                grid.measured(change["made"], 3),
                grid.measured(change["made_random"], 3),
                grid.measured(change["undone"], 3),
                promotes(change) or grid.word(""),
            ],
        )
        for change in result["changes"]
    ]
    return Grid(
        f"All changes, {percent(result['confidence'], 0)} intervals over documents",
        [
            *("rank", "kind", "share of the difference", "acts on", "cosine", "strength ratio"),
            *("KL removed, made in base", "by random latents", "KL brought, undone in IT"),
            "promotes",
        ],
        rows,
    )


def interval(change: Change) -> str:
    return f"{percent(change['share']['low'])} to {percent(change['share']['high'])}"


def figures(change: Change) -> list[tuple[str, str]]:
    """Name and value of what decides the kind."""
    return [
        ("share of the difference", f"{percent(change['share']['value'])} ({interval(change)})"),
        ("q of the share", number(change["q_share"], 2)),
        ("q of the kind", number(change["q_kind"], 2)),
        ("acts on", f"{change['n_active']:,} held-out tokens"),
        ("cosine of the two models’ directions", fixed(change["cosine"]["value"], 2)),
        ("strength, IT over base", number(change["strength_ratio"]["value"])),
        ("written by base, length", number(change["norm_base"])),
        ("written by IT, length", number(change["norm_it"])),
    ]


def latents(change: Change, findings: Findings) -> Grid:
    """The crosscoder latents that fire with the change, and their two decoders; each opens its
    dashboard."""
    verdicts, rows = findings.read(VERDICTS), []
    for found in change["latents"]:
        latent, seen = found["latent"], findings.excerpts.get(found["latent"])
        cells = [
            grid.word(ALL_VERDICT_NAMES.get(found["verdict"], found["verdict"]), found["verdict"]),
            grid.fixed(found["correlation"], 2),
            grid.fixed(found["cosine"], 2),
            grid.fixed(verdicts["relative_norm"][latent], 2),
            grid.fixed(verdicts["decoder_cosine"][latent], 2),
            grid.tokens(seen.promotes_in_base[:N_DECODER] if seen else []),
            grid.tokens(seen.promotes[:N_DECODER] if seen else []),
        ]
        rows.append(Row(grid.latent_link(latent), cells))
    heads = ["latent", "verdict", "correlation of activity", "cosine of the difference"]
    heads += ["r", "cosine of the decoders", "base decoder promotes", "IT decoder promotes"]
    return Grid("Latents it rests on, and their decoders", heads, rows)


def lens(change: Change) -> Grid:
    """What the added direction writes through the head of either model."""

    def names(tokens: Iterable[tuple[str, float]]) -> Cell:
        return grid.tokens(token for token, _ in tokens)

    rows = [
        Row("base", [names(change["promotes_in_base"]), names(change["suppresses_in_base"])]),
        Row("IT", [names(change["promotes_in_it"]), names(change["suppresses_in_it"])]),
    ]
    return Grid("What its direction writes", ["in", "promotes", "suppresses"], rows)


def examples(change: Change) -> Grid:
    """The strongest rows of different documents. Both models read the same text; on each row a
    model writes its own vector, of the length in the figures, as strongly as the change acts."""
    rows = [
        Row(
            fixed(found["strength"], 2),
            [
                grid.number(written(change, found["strength"], change["norm_base"])),
                grid.number(written(change, found["strength"], change["norm_it"])),
                grid.excerpt(found["before"], found["token"], "", n_characters=90),
                grid.word(f"{found['sequence']}:{found['position']}"),
            ],
        )
        for found in change["examples"]
    ]
    heads = ["strength", "base writes", "IT writes", "text", "sequence:position"]
    return Grid("Where it is strongest, and what either model writes there", heads, rows)


def written(change: Change, strength: float, norm: float | None) -> float | None:
    """Length of what a model writes on a row, of the root mean square over the change's rows."""
    return None if norm is None or not change["norm"] else abs(strength) / change["norm"] * norm
