"""The section on where the models part: the tokens after which they predict most differently."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.analysis.changes.result import CHANGES
from pipeline.analysis.parting.result import PARTING, Agreement, Carrier, Expected, Source, Token
from pipeline.analysis.verdicts.result import VERDICTS
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, interval, number, percent, visible
from pipeline.report.grid import Cell, Grid, Row
from pipeline.report.labels import ALL_VERDICT_NAMES, KIND_NAMES
from pipeline.report.section import Section, Shown


@dataclass(frozen=True)
class Told:
    """A token as the page shows it. address: of its entry; text: it in its context; follows: what
    the text goes on with; it, base: what either model expects; facts: its figures, by name."""

    address: str
    kl: str
    text: Cell
    follows: str
    it: Markup
    base: Markup
    facts: Sequence[tuple[str, str]]
    carriers: Grid


def show(findings: Findings) -> Shown | None:
    result = findings.find(PARTING)
    if result is None:
        return None
    names = carrier_names(findings)
    entries = [
        (source["name"], [told(token, names) for token in source["tokens"]])
        for source in result["sources"]
    ]
    carried = of_changes(findings)
    return Shown(
        tables={"sources": sources(result["sources"])}
        | ({"changes": by_change(carried, names)} if carried else {}),
        facts={
            "result": result,
            "entries": entries,
            "agreement": [
                text
                for text in (
                    agrees("changes", result["of_changes"]),
                    agrees("latents", result["of_latents"]),
                )
                if text
            ],
        },
        sentences=[sentence(result["sources"])],
    )


SECTION = Section("parting", "Where they part", show)


def of_changes(findings: Findings) -> dict[int, list[tuple[Token, Carrier]]]:
    """Rank of a change -> the tokens under which it is shown, by falling attribution."""
    result, found = findings.find(PARTING), defaultdict[int, list[tuple[Token, Carrier]]](list)
    for source in result["sources"] if result else []:
        for token in source["tokens"]:
            for carrier in token["changes"]:
                found[carrier["number"]].append((token, carrier))
    return {
        rank: sorted(found[rank], key=lambda pair: -pair[1]["attribution"])
        for rank in sorted(found)
    }


def token_links(pairs: Iterable[tuple[Token, Carrier]]) -> Cell:
    """The tokens, each as a link to its entry, with the nats that the change carries there."""
    linked = (
        Markup('<a href="#{}"><code>{}</code></a>&nbsp;{}').format(
            address(token), visible(token["token"]), number(carrier["patch"], 2)
        )
        for token, carrier in pairs
    )
    return grid.word(Markup(", ").join(linked), "names")


def address(token: Token) -> str:
    return f"token-{token['sequence']}-{token['position']}"


def carrier_names(findings: Findings) -> Mapping[str, Mapping[int, str]]:
    """Of changes and latents, number -> its name as a link."""
    listed, verdicts = findings.find(CHANGES), findings.read(VERDICTS)["verdict"]
    changes = {
        change["rank"]: grid.link(
            f"change-{change['rank']}",
            f"change {change['rank']}, {KIND_NAMES.get(change['kind'], change['kind'])}",
        )
        for change in (listed["changes"] if listed else [])
    }
    latents = {
        latent: grid.link(f"latent-{latent}", f"latent {latent}, {ALL_VERDICT_NAMES[verdict]}")
        for latent, verdict in enumerate(verdicts)
    }
    return {"changes": changes, "latents": latents}


def told(token: Token, names: Mapping[str, Mapping[int, str]]) -> Told:
    """One entry."""
    rows = [
        Row(names[kind].get(carrier["number"], str(carrier["number"])), figures(carrier))
        for kind, carriers in (("changes", token["changes"]), ("latents", token["latents"]))
        for carrier in carriers
    ]
    heads = ["carried by", "attribution", "patch", "random direction", "mostly at"]
    return Told(
        address=address(token),
        kl=number(token["kl"], 2),
        text=grid.excerpt(token["before"], token["token"], "", n_characters=90),
        follows=visible(token["follows"]),
        it=expected(token["expected_by_it"]),
        base=expected(token["expected_by_base"]),
        facts=[
            ("KL(IT ‖ base)", f"{number(token['kl'])} nats"),
            ("goes with base’s activations below", f"{number(token['from_below'])} nats"),
            ("attributed to all of the difference", f"{number(token['attributed'])} nats"),
            ("sequence:position", f"{token['sequence']}:{token['position']}"),
        ],
        carriers=Grid("What carries it, in nats", heads, rows),
    )


def figures(carrier: Carrier) -> list[Cell]:
    """Attribution beside patch and control, and the token that has most of it."""
    nats = (fixed(carrier[name], 3) for name in ("attribution", "patch", "random"))
    on = Markup("<code>{}</code>").format(visible(carrier["on"]))
    return [*map(Cell, nats), Cell(on, f"position {carrier['at']}", "word names")]


def expected(tokens: Expected) -> Markup:
    """Next tokens with their probabilities."""
    return Markup(", ").join(
        Markup("<code>{}</code>&nbsp;{}").format(visible(token), percent(share, 0))
        for token, share in tokens
    )


def sources(found: Sequence[Source]) -> Grid:
    """One row per source."""
    rows = [
        Row(
            source["name"],
            [
                Cell(f"{source['n_tokens']:,}"),
                Cell(number(source["kl"]["value"]), interval(source["kl"])),
                *(grid.number(source["quantiles"].get(q)) for q in ("0.5", "0.9", "0.99")),
                grid.percent(source["top_share"], 0),
                Cell(str(len(source["tokens"]))),
            ],
        )
        for source in found
    ]
    heads = ["source", "held-out tokens", "mean KL", "median", "90 %", "99 %"]
    heads += ["of all KL, on 1 % of tokens", "listed"]
    return Grid("KL(IT ‖ base) of the next token, nats", heads, rows)


def by_change(
    carried: Mapping[int, Sequence[tuple[Token, Carrier]]], names: Mapping[str, Mapping[int, str]]
) -> Grid:
    """One row per change that is shown under a token."""
    rows = [
        Row(
            names["changes"].get(rank, str(rank)),
            [
                Cell(str(len(pairs))),
                Cell(fixed(sum(carrier["attribution"] for _, carrier in pairs), 2)),
                Cell(fixed(sum(carrier["patch"] for _, carrier in pairs), 2)),
                token_links(pairs),
            ],
        )
        for rank, pairs in carried.items()
    ]
    heads = ["change", "listed tokens", "attribution, nats", "patch, nats", "after"]
    return Grid("From a change to its tokens", heads, rows)


def agrees(kind: str, found: Agreement) -> str:
    """How attribution and patch agree; empty where it cannot be told."""
    if found["correlation"] is None:
        return ""
    return (
        f"Attribution and patch of the {found['n']} {kind} below correlate at "
        f"{fixed(found['correlation'], 2)}."
    )


def sentence(found: Sequence[Source]) -> str:
    """For the first screen."""
    means = ", ".join(
        f"{number(source['kl']['value'], 2)} on {source['name']}"
        for source in sorted(found, key=lambda source: -(source["kl"]["value"] or 0.0))
    )
    return (
        "The two models’ predictions of the next token differ, KL(IT ‖ base), by this many nats on "
        f"average: {means}."
    )
