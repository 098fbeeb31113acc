"""The section on explanations: a sentence for each change and latent, and how well it does."""

from pipeline.analysis.explain.result import EXPLANATIONS, Detection, Explanation, Means
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, interval, plain
from pipeline.report.grid import Cell, Grid, Row
from pipeline.report.section import Section, Shown
from pipeline.results import Measured

CHANCE = 0.5


def show(findings: Findings) -> Shown | None:
    result = findings.find(EXPLANATIONS)
    if result is None:
        return None
    return Shown(
        tables={"explanations": table(result["explanations"])},
        facts={"result": result, "outcome": outcome(result["means"])},
    )


SECTION = Section("explanations", "In words", show)


def outcome(means: Means) -> str:
    """How the sentences do on the whole, and whether they say more than any sentence would."""
    own, control, above = means["auc"], means["control_auc"], means["auc_above_control"]
    if own["value"] is None:
        return "No sentence could be scored."
    told = f"Over {means['n_scored']} sentences the mean area is {with_interval(own)}"
    if above["value"] is None:
        return f"{told}."
    told = f"{told}; with another subject’s sentence it is {with_interval(control)}"
    if above["low"] is not None and above["low"] > 0:
        return f"{told}: the sentences tell more than another one does."
    return (
        f"{told}. The difference, {with_interval(above)}, is not surely above 0, so do not "
        "rely on these sentences."
    )


def with_interval(figure: Measured) -> str:
    found = interval(figure, 2)
    return fixed(figure["value"], 2) + (f" ({found})" if found else "")


def in_words(findings: Findings, kind: str) -> dict[int, str]:
    """Number of a change or latent -> its sentence, with what that is worth."""
    result = findings.find(EXPLANATIONS)
    found = [one for one in result["explanations"] if one["kind"] == kind] if result else []
    return {one["number"]: worth(one) for one in found if one["explanation"]}


def worth(one: Explanation) -> str:
    return f"“{plain(one['explanation'] or '')}” ({tells(one)})"


def tells(one: Explanation) -> str:
    """What a sentence is worth on text that its writer has not seen."""
    if one["detection"] is None:
        return "not judged"
    area = one["detection"]["auc"]
    if area["low"] is None or area["low"] <= CHANCE:
        return f"on unseen text no better than chance: AUC {with_interval(area)}"
    control = one["control"]["auc"]["value"] if one["control"] else None
    beside = f", another’s sentence {fixed(control, 2)}" if control is not None else ""
    return f"AUC on unseen text {with_interval(area)}{beside}"


def table(explanations: list[Explanation]) -> Grid:
    """One row per change and latent."""
    rows = [
        Row(
            address(one),
            [
                grid.word(plain(one["explanation"] or f"none: {one['reason']}")),
                *scores(one["detection"]),
                grid.fixed(one["control"]["auc"]["value"] if one["control"] else None, 2),
                *called(one["detection"]),
            ],
        )
        for one in explanations
    ]
    heads = ["of", "sentence", "AUC", "balanced accuracy", "AUC of another’s sentence"]
    heads += ["active found", "near misses called", "others called"]
    return Grid("Explanations with their detection scores (0.5 is chance)", heads, rows)


def scores(found: Detection | None) -> list[Cell]:
    """Area under the curve and balanced accuracy."""
    if found is None:
        return [Cell(fixed(None))] * 2
    return [grid.measured(found["auc"], 2), grid.fixed(found["score"], 2)]


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
