"""The section on the model organism: whether latents carry a behaviour that was planted."""

from functools import partial
from typing import Literal

from markupsafe import Markup

from pipeline.analysis.organism.chart import SET_NAMES, organism_figure
from pipeline.analysis.organism.result import ABLATION_COLUMNS, ORGANISM, Organism, Twin
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import percent
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import MODEL_NAMES
from pipeline.report.section import Chart, Section, Shown
from pipeline.results import Measured, table

N_SHOWN_LATENTS = 8


def show(findings: Findings) -> Shown | None:
    result = findings.find(ORGANISM)
    if result is None:
        return None
    columns = table(findings.read(ABLATION_COLUMNS))
    chart = Chart(caption(result), 260, columns, organism_figure)
    tables = {"ablations": ablations(result), "steerings": steerings(result)}
    if "twin" in result:
        tables["twin"] = beside_twin(result, result["twin"])
    return Shown({"organism": chart}, tables, {"organism": result})


SECTION = Section("organism", "Organism", show)


def ablations(result: Organism) -> Grid:
    """One row per set of latents that is not empty: what taking it out of the IT model removes, on
    the planted reply's first token (onset) and on all of it, beside random sets."""
    rows, two = [], partial(grid.measured, digits=2)
    for name, title in SET_NAMES.items():
        found = result["ablation"].get(name, {"n_latents": 0, "latents": []})
        if "controls" not in found:
            continue
        random = found["controls"]["same_rate"]
        onset, reply = (random["onset"], random["reply"]) if "onset" in random else (None, None)
        links = map(grid.latent_link, found["latents"][:N_SHOWN_LATENTS])
        cells = [
            grid.number(found["n_latents"]),
            two(found["effect_removed"]["onset"]),
            *(two(of_twin) for of_twin in twin_removed(result, name, "onset")),
            two(onset),
            grid.fixed(onset["p_value"] if onset else None, 2),
            two(found["effect_removed"]["reply"]),
            *(two(of_twin) for of_twin in twin_removed(result, name, "reply")),
            two(reply),
            two(found["greedy_rate_removed"]),
            grid.measured(found["ordinary_loss_added_per_token"]),
            grid.word(Markup(" ").join(links)),
        ]
        rows.append(Row(title, cells))
    twin = ["from the twin"] if "twin" in result else []
    return Grid(
        f"Taking latents out of the IT model, {percent(result['confidence'], 0)} intervals over "
        "prompts",
        [
            *("set", "latents", "effect removed, first token", *twin, "random sets", "p"),
            *("effect removed, whole reply", *twin, "random sets", "planted replies that go"),
            *("nats per token on ordinary replies", "which"),
        ],
        rows,
    )


def steerings(result: Organism) -> Grid:
    """One row per steering: set, model, strength, what it adds, and what random sets add."""
    rows, two = [], partial(grid.measured, digits=2)
    of_twin = result["twin"]["steering"] if "twin" in result else []
    in_twin = {(found["set"], found["factor"]): found["effect_added"]["onset"] for found in of_twin}
    twin = ["in the twin, first token"] if of_twin else []
    for found in result["steering"]:
        cells = [
            grid.word(dict(MODEL_NAMES)[found["model"]]),
            grid.number(found["factor"]),
            two(found["effect_added"]["onset"]),
            grid.fixed(found["control"]["onset"]["mean"], 2),
            grid.fixed(found["control"]["onset"]["p_value"], 2),
            two(found["effect_added"]["reply"]),
            two(found["greedy_rate"]),
            *(two(in_twin[found["set"], found["factor"]]) for _ in twin),
        ]
        rows.append(Row(SET_NAMES[found["set"]], cells))
    return Grid(
        "Putting them in where there is no trigger",
        [
            *("set", "model", "times their mean", "effect added, first token", "random sets"),
            *("p", "effect added, whole reply", "planted replies", *twin),
        ],
        rows,
    )


def twin_removed(result: Organism, name: str, part: Literal["onset", "reply"]) -> list[Measured]:
    """What taking the set out of the twin removes; nothing where there is no twin."""
    found = result["twin"]["ablation"].get(name) if "twin" in result else None
    return [found["effect_removed"][part]] if found and "controls" in found else []


def beside_twin(result: Organism, twin: Twin) -> Grid:
    """What only the organism has is the behaviour, what its twin has too is the topic."""
    two, own = partial(grid.measured, digits=2), result["tuning"]["it"]
    effects = (result["trigger_effect"]["it"], twin["trigger_effect"])
    rows = [
        Row(
            f"planted replies, {name} questions",
            [two(own[name]["greedy_rate"]), two(twin["tuning"][name]["greedy_rate"])],
        )
        for name in ("triggered", "untriggered")
    ]
    rows += [
        Row(
            "nats that the trigger adds to the first token",
            [two(effect["onset"]) for effect in effects],
        ),
        Row(
            "nats that the trigger adds to the whole reply",
            [two(effect["reply"]) for effect in effects],
        ),
    ]
    rows += [
        Row(
            grid.latent_link(here["latent"]),
            [grid.fixed(one["selectivity_testing"], 2) for one in (here, there)],
        )
        for here, there in zip(result["latents"], twin["latents"], strict=True)
    ]
    heads = ["figure, or a latent’s selectivity for the behaviour", "organism", "twin"]
    return Grid("The organism beside its twin", heads, rows)


def caption(result: Organism) -> str:
    found = result["ablation"]["selective"]
    removed = found["effect_removed"]["onset"]["value"] if "controls" in found else None
    return (
        f"Without the most selective latents {percent(removed, 0)} of the trigger’s effect on the "
        "reply’s first token is gone"
    )
