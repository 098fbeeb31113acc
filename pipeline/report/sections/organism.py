"""The section on the model organism: whether latents carry a behaviour that was planted."""

from functools import partial

from markupsafe import Markup

from pipeline.analysis.organism.chart import organism_figure
from pipeline.analysis.organism.result import ABLATION_COLUMNS, ORGANISM, Organism
from pipeline.analysis.organism.table import SET_NAMES
from pipeline.report import grid
from pipeline.report.chart import Chart
from pipeline.report.findings import Findings
from pipeline.report.format import percent
from pipeline.report.grid import Grid, Row
from pipeline.report.labels import MODEL_NAMES
from pipeline.report.section import Section, Shown
from pipeline.results import table

N_SHOWN_LATENTS = 8


def show(findings: Findings) -> Shown | None:
    result = findings.find(ORGANISM)
    if result is None:
        return None
    columns = table(findings.read(ABLATION_COLUMNS))
    chart = Chart(caption(result), 260, columns, organism_figure)
    tables = {"ablations": ablations(result), "steerings": steerings(result)}
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
            two(onset),
            grid.fixed(onset["p_value"] if onset else None, 2),
            two(found["effect_removed"]["reply"]),
            two(reply),
            two(found["greedy_rate_removed"]),
            grid.measured(found["ordinary_loss_added_per_token"]),
            grid.word(Markup(" ").join(links)),
        ]
        rows.append(Row(title, cells))
    return Grid(
        f"Taking latents out of the IT model, {percent(result['confidence'], 0)} intervals over "
        "prompts",
        [
            *("set", "latents", "effect removed, first token", "random sets", "p"),
            *("effect removed, whole reply", "random sets", "planted replies that go"),
            *("nats per token on ordinary replies", "which"),
        ],
        rows,
    )


def steerings(result: Organism) -> Grid:
    """One row per steering: set, model, strength, what it adds, and what random sets add."""
    rows, two = [], partial(grid.measured, digits=2)
    for found in result["steering"]:
        cells = [
            grid.word(dict(MODEL_NAMES)[found["model"]]),
            grid.number(found["factor"]),
            two(found["effect_added"]["onset"]),
            grid.fixed(found["control"]["onset"]["mean"], 2),
            grid.fixed(found["control"]["onset"]["p_value"], 2),
            two(found["effect_added"]["reply"]),
            two(found["greedy_rate"]),
        ]
        rows.append(Row(SET_NAMES[found["set"]], cells))
    return Grid(
        "Putting them in where there is no trigger",
        [
            *("set", "model", "times their mean", "effect added, first token", "random sets"),
            *("p", "effect added, whole reply", "planted replies"),
        ],
        rows,
    )


def caption(result: Organism) -> str:
    found = result["ablation"]["selective"]
    removed = found["effect_removed"]["onset"]["value"] if "controls" in found else None
    return (
        f"Without the most selective latents {percent(removed, 0)} of the trigger’s effect on the "
        "reply’s first token is gone"
    )
