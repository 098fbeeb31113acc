"""The section on the baselines: what simpler explanations than a crosscoder give."""

from collections.abc import Mapping
from typing import Final

from markupsafe import Markup

from pipeline.analysis.baselines.result import BASELINES, Baselines, PositionRead, Positions
from pipeline.claims import Rival
from pipeline.labels import MODELS
from pipeline.report import grid
from pipeline.report.findings import Findings
from pipeline.report.format import fixed, share, visible
from pipeline.report.grid import Cell, Grid, Row
from pipeline.report.labels import group_names
from pipeline.report.section import Section, Shown
from pipeline.results import NOT_MEASURED, Measured, applicable

CROSSCODER: Final = "crosscoder"
ESTIMATORS: Final = (
    ("mean", "mean", "mean difference"),
    ("cell_mean", "cell_mean", "mean difference per source and token class"),
    ("diff_sae", "diff_sae", "diff-SAE"),
    ("crosscoder", "full", CROSSCODER),
)
"""An estimator of the difference, the patch of the causal test that adds it, and its name."""
N_LENS_TOKENS = 4
N_POSITION_TOKENS = 8


def show(findings: Findings) -> Shown | None:
    result = findings.find(BASELINES)
    if result is None:
        return None
    tables = {"means": means(result, group_names(findings.sources))}
    if found := applicable(result["positions"]):
        tables["positions"] = positions(found)
    return Shown(
        tables=tables,
        facts={"diff_sae": result["diff_sae"], "positions": found},
        sentences=[told(result)],
    )


SECTION = Section("baselines", "Baselines", show)


def kl_removed(result: Baselines, patch: str, group: str) -> Measured | None:
    """The share of the KL between the models that adding an estimate removes."""
    causal = applicable(result["causal"])
    found = causal["patches"].get(patch) if causal else None
    return found["tokens"][group]["removed"] if found else None


def rivals(result: Baselines) -> list[Rival]:
    """Of each account of the difference: variance explained, L0, KL removed."""
    return [
        {
            "name": name,
            "l0": result["explained"]["all"][estimator].get("l0", NOT_MEASURED),
            "explained": result["explained"]["all"][estimator]["explained"],
            "beyond_mean": result["explained"]["all"][estimator].get("beyond_mean", NOT_MEASURED),
            "kl_removed_first": kl_removed(result, patch, "first") or NOT_MEASURED,
            "kl_removed_later": kl_removed(result, patch, "later") or NOT_MEASURED,
        }
        for estimator, patch, name in ESTIMATORS
    ]


def means(result: Baselines, groups: Mapping[str, str]) -> Grid:
    """One row per group of tokens: how much of the difference its mean is, and what that writes."""
    lens = applicable(result["mean_difference_lens"]) or {}
    rows = []
    for group, name in groups.items():
        row = result["mean_difference"][group]
        lists = lens.get(group, {"promoted": [], "suppressed": []})
        cells = [
            grid.number(row["n_tokens"]),
            grid.number(row["norm_mean_difference"]),
            grid.number(row["norm_root_mean_square"]),
            grid.percent(row["share"]),
            grid.fixed(row["cosine_with_all"]),
            grid.tokens(token for token, _ in lists["promoted"][:N_LENS_TOKENS]),
            grid.tokens(token for token, _ in lists["suppressed"][:N_LENS_TOKENS]),
        ]
        rows.append(Row(name, cells))
    return Grid(
        "The mean difference by group of tokens",
        [
            *("tokens", "number", "length of the mean difference", "root mean square"),
            *("share of the square that is its mean", "cosine with that of all"),
            *("promotes in IT", "suppresses in IT"),
        ],
        rows,
    )


def positions(result: Positions) -> Grid:
    """One row per position of unrelated text: what its mean difference promotes in either model,
    and which planted words are among it."""
    rows = []
    for found in result["positions"]:
        cells = [
            grid.number(found["norm_difference"]),
            grid.number(found["norm_root_mean_square"]),
            *(
                grid.tokens(token for token, _ in found[side][:N_POSITION_TOKENS])
                for side in ("promotes_in_base", "promotes_in_it", "suppresses_in_it")
            ),
        ]
        cells += [read(found["read"][model]) for model in MODELS if found["read"]]
        rows.append(Row(str(found["position"]), cells))
    heads = ["position", "length of the mean difference", "root mean square"]
    heads += ["promotes in base", "promotes in IT", "suppresses in IT"]
    if result["planted_words"]:
        heads += ["planted words read, base", "planted words read, IT"]
    return Grid(
        f"The mean difference at the first positions of {result['n_documents']:,} documents",
        heads,
        rows,
    )


def read(found: PositionRead) -> Cell:
    """How many planted words are read, which, and how many random directions give."""
    small = f"random {fixed(found['random_mean'], 1)}, at most {found['random_highest']}"
    words = Markup(" ").join(Markup("<code>{}</code>").format(visible(w)) for w in found["words"])
    return Cell(Markup("{} {}").format(len(found["words"]), words), small, "word names")


def told(result: Baselines) -> str:
    """The rivals' figures beside the crosscoder's, and who wins where that is sure."""
    explained = result["explained"]["all"]
    ours, rival = (explained[name]["explained"] for name in ("crosscoder", "diff_sae"))
    mean = explained["mean"]["explained"]
    kl = {patch: kl_removed(result, patch, "first") for patch in ("full", "diff_sae", "mean")}
    text = (
        "Of the square of the difference, its mean included, the crosscoder explains "
        f"{share(ours['value'])}, a dictionary of the difference alone (diff-SAE) "
        f"{share(rival['value'])}, one mean difference {share(mean['value'])}"
    )
    if (full := kl["full"]) and (other := kl["diff_sae"]) and (one := kl["mean"]):
        text += (
            f"; put into the base model they remove {share(full['value'])}, "
            f"{share(other['value'])} and {share(one['value'])} of the KL on the first "
            "tokens of a response"
        )
    return text + f".{conclusion(ours, rival)}"


def conclusion(ours: Measured, rival: Measured) -> str:
    if None in (ours["low"], ours["high"], rival["low"], rival["high"]):
        return ""
    if (rival["low"] or 0) > (ours["high"] or 0):
        return " So the diff-SAE describes the difference better than the crosscoder."
    if (ours["low"] or 0) > (rival["high"] or 0):
        return " So the crosscoder describes the difference better than the diff-SAE."
    return " Their intervals overlap, so neither is ahead."
