"""The first screen: what was found in a sentence, how well the crosscoder fits, where to look.

What it claims is what `pipeline.report.claims` gives, which `results/findings.json` holds too.
"""

from collections.abc import Sequence

from pipeline.analysis.verdicts.result import VERDICT_COUNTS
from pipeline.claims import ExclusiveLatent, Fit, Rival
from pipeline.report import grid
from pipeline.report.claims.changes import change_claims
from pipeline.report.claims.screen import first_screen
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, share
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import MODEL_NAMES, VERDICT_COLOURS, VERDICT_NAMES
from pipeline.report.section import Section, Shown
from pipeline.report.sections.baselines import CROSSCODER
from pipeline.report.sections.changes import told


def show(findings: Findings) -> Shown:
    screen, changes = first_screen(findings), change_claims(findings)
    latents, exclusive = screen["exclusive"]["latents"], screen["exclusive"]
    tables = {"first": first_latents(latents)} if latents else {}
    return Shown(
        tables=tables | ({"rivals": rivals(screen["rivals"])} if screen["rivals"] else {}),
        facts={
            "lead": screen["lead"],
            "behaviour": screen["behaviour"],
            "trust": screen["trust"],
            "changes": [
                told(rank, claim)
                for rank, claim in enumerate(changes[: screen["n_shown"]], start=1)
            ],
            "exclusive": exclusive["says"] if screen["accounted"] else "",
            "failings": screen["failings"],
            "cautions": screen["cautions"],
            "n_dead": findings.read(VERDICT_COUNTS)["dead"],
            "split": split(exclusive["verdicts"]),
            "tiles": tiles(screen["fit"]),
            "pair": (screen["base"], screen["it"]),
            "date": findings.runs[-1].began[:10] if findings.runs else "",
            "layer": screen["layer"],
        },
    )


SECTION = Section("overview", "Overview", show)


def split(counts: dict[str, int]) -> list[tuple[str, str, str, int]]:
    """Verdict, its name, its colour and how many latents have it, as they stand beside each other
    from base to IT."""
    order = ("base_only", "shared", "weaker", "turned", "moved", "stronger", "undecided", "it_only")
    return [(name, VERDICT_NAMES[name], VERDICT_COLOURS[name], counts[name]) for name in order]


def tiles(fit: Fit) -> list[tuple[str, str, str]]:
    """Name, value and meaning of the figures that say how well the crosscoder fits."""
    found = [
        ("L0", fixed(fit["l0"]["value"], 1), "latents on per token"),
        ("FVE", share(fit["fve"]["value"], 1), "of the variance explained, both models"),
        (
            "FVE of the difference",
            share(fit["fve_difference"]["value"], 1),
            "of what differs between the models",
        ),
    ]
    return found + [
        (f"ΔCE {name}", fixed(fit["delta_ce"][model]["value"]), "nats lost when spliced in")
        for model, name in MODEL_NAMES
        if model in fit["delta_ce"]
    ]


def rivals(accounts: Sequence[Rival]) -> Grid:
    """One row per account of the difference: variance explained, L0, KL removed."""
    rows = [
        Row(
            account["name"],
            [
                grid.measured(account["l0"], 1),
                grid.measured(account["explained"]),
                grid.measured(account["beyond_mean"]),
                grid.measured(account["kl_removed_first"], 2),
                grid.measured(account["kl_removed_later"], 2),
            ],
            "ours" if account["name"] == CROSSCODER else "",
        )
        for account in accounts
    ]
    return Grid(
        "Of the difference between the models, held-out",
        [
            *("explanation", "L0", "explained", "beyond its mean"),
            *("KL removed, first tokens", "KL removed, later tokens"),
        ],
        rows,
    )


def first_latents(latents: Sequence[ExclusiveLatent]) -> Grid:
    """Latents that look exclusive, each with the reason of its verdict."""
    rows = []
    for claim in latents:
        (seen,) = claim["examples"] or [None]
        cells = [
            grid.word(VERDICT_NAMES.get(claim["verdict"], claim["verdict"]), claim["verdict"]),
            grid.word(claim["why"], "reason"),
            grid.fixed(claim["relative_norm"], 2),
            grid.percent(claim["rate"], 2),
            grid.excerpt(seen["before"], seen["token"], seen.get("after", ""))
            if seen
            else grid.word("–"),
            grid.tokens(claim["promotes"]),
        ]
        rows.append(Row(grid.latent_link(claim["latent"]), cells))
    return Grid(
        "Latents that look exclusive: those that no test refutes come first",
        [
            *("latent", "verdict", "why", "r", "fires on", "strongest example"),
            "its IT side promotes",
        ],
        rows,
        "first",
    )
