"""The section on explanations: a sentence for each change and latent, and how well it does."""

from pipeline.analysis.explain.result import EXPLANATIONS, Detection, Explanation
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, percent, plain
from pipeline.report.grid import Cell, Grid, Row
from pipeline.report.section import Section, Shown


def show(findings: Findings) -> Shown | None:
    result = findings.find(EXPLANATIONS)
    if result is None:
        return None
    return Shown(tables={"explanations": table(result["explanations"])}, facts={"result": result})


SECTION = Section("explanations", "In words", show)


def in_words(findings: Findings, kind: str) -> dict[int, str]:
    """Number of a change or latent -> its sentence, with what that is worth."""
    result = findings.find(EXPLANATIONS)
    found = [one for one in result["explanations"] if one["kind"] == kind] if result else []
    return {one["number"]: worth(one) for one in found if one["explanation"]}


def worth(one: Explanation) -> str:
    score = one["detection"]["score"] if one["detection"] else None
    tells = (
        "not judged" if score is None else f"tells unseen text at {percent(score, 0)}, chance 50%"
    )
    return f"“{plain(one['explanation'] or '')}” ({tells})"


def table(explanations: list[Explanation]) -> Grid:
    """One row per change and latent."""
    rows = [
        Row(
            address(one),
            [
                grid.word(plain(one["explanation"] or f"none: {one['reason']}")),
                grid.fixed(one["detection"]["score"] if one["detection"] else None, 2),
                *called(one["detection"]),
            ],
        )
        for one in explanations
    ]
    heads = ["of", "sentence", "score", "active found", "near misses called", "others called"]
    return Grid("Explanations with their detection scores (0.5 is chance)", heads, rows)


def address(one: Explanation) -> str:
    if one["kind"] == "latent":
        return grid.latent_link(one["number"])
    return grid.link(f"change-{one['number']}", f"change {one['number']}")


def called(found: Detection | None) -> list[Cell]:
    """Of each group of examples, how many the sentence calls active."""
    if found is None:
        return [Cell(fixed(None))] * 3
    pairs = (("n_found", "n_active"), ("n_near_called", "n_near"), ("n_other_called", "n_other"))
    return [Cell(f"{found[n]} of {found[of]}") for n, of in pairs]
