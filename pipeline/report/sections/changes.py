"""The section on changes: what fine-tuning changed, as a ranked and tested list."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.analysis.changes.result import CHANGES, Change, ChangeList
from pipeline.analysis.verdicts.result import VERDICTS
from pipeline.claims import Claim, Example
from pipeline.report import grid
from pipeline.report.claims.changes import change_claims, outcome, promotes, ratio_along
from pipeline.report.findings import Findings
from pipeline.report.format import MISSING, fixed, number, percent
from pipeline.report.grid import Cell, Grid, Row
from pipeline.report.labels import ALL_VERDICT_NAMES, KIND_NAMES
from pipeline.report.section import Section, Shown
from pipeline.report.sections.explanations import in_words
from pipeline.report.sections.parting import of_changes, token_links

N_DECODER = 3
"""Tokens shown of what a latent's decoder promotes."""
N_TOKENS, MIN_TOKEN, MIN_MOST = 4, 0.02, 0.5
"""Tokens shown of what a change acts on, the share of it that they must have, and the share that
is most of it."""


@dataclass(frozen=True)
class Told:
    """A change in words. kind: its name; says: what is different; on: tokens that have much of it;
    weight: what it does to the predictions, empty where that was not measured; where: how the
    example was chosen; example: a token in its context, None where the change acts on every token
    alike."""

    rank: int
    kind: str
    kind_class: str
    share: str
    says: str
    on: Cell | None
    promotes: Cell | None
    weight: str
    where: str
    example: Cell | None


def show(findings: Findings) -> Shown | None:
    result = findings.find(CHANGES)
    if result is None:
        return None
    words, carries = in_words(findings, "change"), of_changes(findings)
    entries = [
        (
            told(change["rank"], claim),
            figures(change),
            latents(change, findings),
            lens(change),
            examples(change),
            words.get(change["rank"], ""),
            token_links(carries[rank]) if (rank := change["rank"]) in carries else None,
        )
        for change, claim in zip(result["changes"], change_claims(findings), strict=True)
    ]
    return Shown(
        tables={"changes": overview(result)} if entries else {},
        facts={"result": result, "entries": entries, "outcome": outcome(result)},
        sentences=[text] if (text := left_out(result)) else [],
    )


SECTION = Section("changes", "Changes", show)


def left_out(result: ChangeList) -> str:
    """What the list leaves out of the difference; empty where there is no difference."""
    smaller, rest = result["share_not_listed"], result["share_left"]
    if smaller is None or rest is None:
        return ""
    return (
        f"What is not in the list: {percent(smaller, 0)} of the difference lies in changes that "
        f"are too small or too unsure to list, {percent(rest, 0)} in no direction that was found."
    )


def told(rank: int, claim: Claim) -> Told:
    """A claim as the page shows it."""
    kind, measured = claim.get("kind", ""), claim.get("measured")
    (where, shown), promotes = typical(claim), claim.get("promotes", [])
    return Told(
        rank,
        KIND_NAMES.get(kind, kind),
        kind,
        f"{percent(measured['share']['value'] if measured else None)} of the difference",
        claim["says"],
        acts_on(measured["tokens"] if measured else []),
        grid.tokens(promotes) if promotes else None,
        measured["weight"]["says"] if measured else "",
        where,
        grid.excerpt(shown["before"], shown["token"], "") if shown else None,
    )


def typical(claim: Claim) -> tuple[str, Example | None]:
    """The strongest example and what it is; where one token has most of the change, the strongest
    on that token: an outlier row elsewhere can be stronger and tells nothing of the change."""
    found, measured = claim.get("examples", []), claim.get("measured")
    if not found:
        return "", None
    token, part = measured["tokens"][0] if measured and measured["tokens"] else ("", 0.0)
    on_it = [example for example in found if example["token"] == token]
    if part < MIN_MOST or not on_it or on_it[0] is found[0]:
        return "strongest", found[0]
    return "typical", on_it[0]


def overview(result: ChangeList) -> Grid:
    """One row per change."""
    rows = [
        Row(
            grid.link(f"change-{change['rank']}", str(change["rank"])),
            [
                grid.word(KIND_NAMES.get(change["kind"], change["kind"]), change["kind"]),
                Cell(percent(change["share"]["value"]), interval(change)),
                acts_on(change["tokens"]) or grid.word("many tokens"),
                grid.percent(change["rate"], 2),
                grid.measured(change["cosine"], 2),
                grid.measured(change["strength_ratio"], 2),
                grid.number(ratio_along(change), 2),
                grid.measured(change["made"], 3),
                grid.measured(change["made_random"], 3),
                grid.measured(change["undone"], 3),
                grid.tokens(promotes(change)),
            ],
        )
        for change in result["changes"]
    ]
    return Grid(
        f"All changes, {percent(result['confidence'], 0)} intervals over documents",
        [
            *("rank", "kind", "share of the difference", "mostly on", "acts on", "cosine"),
            *("strength ratio", "along its direction", "KL removed, made in base"),
            *("by random latents", "KL brought, undone in IT", "promotes"),
        ],
        rows,
    )


def interval(change: Change) -> str:
    return f"{percent(change['share']['low'])} to {percent(change['share']['high'])}"


def figures(change: Change) -> list[tuple[str, str]]:
    """Name and value of what decides the kind, as far as it is defined: for a shift little is."""
    told = [
        ("share of the difference", f"{percent(change['share']['value'])} ({interval(change)})"),
        ("q of the share", number(change["q_share"], 2)),
        ("q of the kind", number(change["q_kind"], 2)),
        ("acts on", f"{change['n_active']:,} held-out tokens"),
        ("of the change, by source", sources(change)),
        ("cosine of the two models’ directions", fixed(change["cosine"]["value"], 2)),
        ("strength, IT over base", number(change["strength_ratio"]["value"])),
        ("the same along its direction", number(ratio_along(change), 2)),
        ("written by base, length", number(change["norm_base"])),
        ("written by IT, length", number(change["norm_it"])),
    ]
    return [(name, figure) for name, figure in told if figure != MISSING]


def acts_on(tokens: Sequence[tuple[str, float]]) -> Cell | None:
    """The tokens that have most of a change, with their shares; None where no token has much."""
    named = [(token, share) for token, share in tokens[:N_TOKENS] if share >= MIN_TOKEN]
    return grid.token_shares(named) if named else None


def sources(change: Change) -> str:
    return ", ".join(f"{name} {percent(share, 0)}" for name, share in change["sources"]) or MISSING


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
    """What the added direction writes through the head of either model; no rows for a shift, which
    was not read."""

    def names(tokens: Iterable[tuple[str, float]]) -> Cell:
        return grid.tokens(token for token, _ in tokens)

    rows = [
        Row("base", [names(change["promotes_in_base"]), names(change["suppresses_in_base"])]),
        Row("IT", [names(change["promotes_in_it"]), names(change["suppresses_in_it"])]),
    ]
    if not change["promotes_in_base"] and not change["promotes_in_it"]:
        rows = []
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
