"""The section on steering: what both models write with a change taken out, doubled or added."""

from collections.abc import Mapping
from functools import partial

from pipeline.analysis.changes.result import CHANGES
from pipeline.analysis.steering.result import STEERING, Replies, Steered, Steering, Subject, Written
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import number, plain
from pipeline.report.grid import Cell, Grid, Row
from pipeline.report.labels import KIND_NAMES, MODEL_NAMES
from pipeline.report.section import Section, Shown


def show(findings: Findings) -> Shown | None:
    result = findings.find(STEERING)
    if result is None:
        return None
    listed = findings.find(CHANGES)
    kinds = {change["rank"]: change["kind"] for change in listed["changes"]} if listed else {}
    entries = [
        (
            name_of(subject, kinds),
            [texts(result, subject, at) for at in range(len(result["prompts"]))],
        )
        for subject in result["subjects"]
    ]
    return Shown(
        tables={"replies": replies(result, kinds)} if result["n_planted"] else {},
        facts={"result": result, "entries": entries},
    )


SECTION = Section("steering", "Steering", show)


def name_of(subject: Subject, kinds: Mapping[int, str]) -> str:
    """What is steered with, as a link where the page tells of it."""
    if subject["kind"] == "position":
        return f"mean difference at position {subject['number']} of unrelated text"
    rank = subject["number"]
    kind = KIND_NAMES.get(kinds.get(rank, ""), kinds.get(rank, ""))
    text = f"change {rank}{', ' if kind else ''}{kind}"
    return grid.link(f"change-{rank}", text) if rank in kinds else text


def condition_of(steered: Steered) -> str:
    factor = "" if steered["factor"] is None else f" × {number(steered['factor'])}"
    return f"{dict(MODEL_NAMES)[steered['model']]}, {steered['condition']}{factor}"


def replies(result: Steering, kinds: Mapping[int, str]) -> Grid:
    """One row per model and condition: how often the planted reply appears."""
    rows = [
        Row(
            f"{dict(MODEL_NAMES)[clean['model']]}, as it is",
            [grid.word(""), *rates(clean["replies"]), *rates(None)],
            "control",
        )
        for clean in result["clean"]
        if "replies" in clean
    ]
    rows += [
        Row(
            name_of(subject, kinds),
            [
                grid.word(condition_of(steered)),
                *rates(steered.get("replies")),
                *rates(steered.get("random_replies")),
            ],
        )
        for subject in result["subjects"]
        for steered in subject["steered"]
    ]
    heads = ["steered with", "model and condition", "replies with trigger", "without trigger"]
    heads += ["random direction, with trigger", "random, without"]
    return Grid(
        f"How often the planted reply begins, of {result['n_planted']} questions", heads, rows
    )


def rates(found: Replies | None) -> list[Cell]:
    two = partial(grid.measured, digits=2)
    return [
        two(found["triggered"] if found else None),
        two(found["untriggered"] if found else None),
    ]


def texts(result: Steering, subject: Subject, prompt: int) -> Grid:
    """What is written after one prompt: a row per model and condition."""
    rows = [
        Row(f"{dict(MODEL_NAMES)[clean['model']]}, as it is", [written(clean["texts"][prompt])])
        for clean in result["clean"]
    ]
    rows = [Row(row.name, [*row.cells, grid.word("")], "control") for row in rows]
    rows += [
        Row(
            condition_of(steered),
            [written(steered["texts"][prompt]), written(steered["random"][prompt])],
        )
        for steered in subject["steered"]
    ]
    caption = f"After “{plain(result['prompts'][prompt])}”"
    return Grid(caption, ["model and condition", "writes", "with a random direction"], rows)


def written(texts: Written) -> Cell:
    """The greedy continuation, and the sampled ones in small print."""
    return Cell(plain(texts["greedy"]), " · ".join(map(plain, texts["samples"])), "word")
