"""The causal test as a table with intervals over sequences, and its columns.

Letters: Q sequences, G groups.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.patches import GROUPS, CausalSums
from pipeline.analysis.causal.result import CausalColumns, CausalFigures, Patches
from pipeline.columns import Table, table_of
from pipeline.results import NOT_MEASURED, rounded

Floats = NDArray[np.float64]

TOKENS: Mapping[str, list[int]] = {
    "first": [GROUPS.index("first")],
    "later": [GROUPS.index("later")],
    "response": [GROUPS.index("first"), GROUPS.index("later")],
    "outside": [GROUPS.index("outside")],
    "all": list(range(len(GROUPS))),
}
"""Rows of the table: the first tokens of assistant turns, the later ones, both; and the rest."""

UNITS = {
    "kl": "KL(IT || IT continued from the patched activation), nats per predicted token",
    "removed": "1 - kl / kl of `none`: the share of the distance from base to IT that the patch "
    "covers; 1 is the IT model itself, below 0 is farther away than base",
    "over_random": "removed, less the mean of the random sets that fire as often; above 0 where "
    "the choice of latents carries more than its firing rates explain",
}
NONE = "none"


def causal_table(
    sums: CausalSums,
    bootstrap: Bootstrap,
    *,
    draws: Mapping[str, list[str]],
    n_latents: Mapping[str, int],
) -> Patches:
    """Patch -> {n_latents, tokens: {group -> {n_predictions, kl, removed, over_random}}}.

    draws: set -> names of the patches that are random sets beside it; they become one row,
    `random_<set>`, the mean over the draws. All figures share their resamples.
    """
    drawn_names = {name for drawn in draws.values() for name in drawn}
    kl_QG = {name: kl for name, kl in sums.kl_QG.items() if name not in drawn_names}
    for name, drawn in draws.items():
        kl_QG[f"random_{name}"] = np.mean([sums.kl_QG[draw] for draw in drawn], axis=0)
    return {
        name: {
            "n_latents": n_latents.get(name.removeprefix("random_")),
            "tokens": {
                group: _figures(sums, kl_QG, name, columns, bootstrap)
                for group, columns in TOKENS.items()
            },
        }
        for name in kl_QG
    }


def _figures(
    sums: CausalSums,
    kl_QG: Mapping[str, Floats],
    name: str,
    columns: list[int],
    bootstrap: Bootstrap,
) -> CausalFigures:
    n = sums.n_QG[:, columns].sum(axis=1)
    kl, none = kl_QG[name][:, columns].sum(axis=1), kl_QG[NONE][:, columns].sum(axis=1)
    figures: CausalFigures = {
        "n_predictions": int(n.sum()),
        "kl": bootstrap.ratio(kl, n),
        "removed": bootstrap.one_minus_ratio(kl, none),
    }
    if f"random_{name}" in kl_QG:
        random = kl_QG[f"random_{name}"][:, columns].sum(axis=1)
        figures["over_random"] = bootstrap.ratio(random - kl, none)
    return figures


def causal_columns(table: Patches) -> Table:
    """The table as columns for CSV and figures, a row per patch and group of tokens."""
    rows = []
    for name, entry in table.items():
        for group, figures in entry["tokens"].items():
            row = {"patch": name, "tokens": group, "n_latents": entry["n_latents"]}
            row["n_predictions"] = figures["n_predictions"]
            for figure in ("kl", "removed", "over_random"):
                estimate = figures.get(figure, NOT_MEASURED)
                row[figure] = estimate["value"]
                row[f"{figure}_low"] = estimate["low"]
                row[f"{figure}_high"] = estimate["high"]
            rows.append(row)
    return table_of(rows, COLUMNS)


COLUMNS = tuple(CausalColumns.__annotations__)


def headline(table: Patches) -> dict[str, float | None]:
    """The few figures to compare runs by: the distance from base to IT over response tokens, in
    nats, and the share of it that each patch removes."""
    response = {name: entry["tokens"]["response"] for name, entry in table.items()}
    short = {"kl_none": response[NONE]["kl"]["value"]}
    for name, figures in response.items():
        if name not in (NONE, "everything"):
            short[f"removed_{name}"] = figures["removed"]["value"]
    return rounded(short)


def controls(table: Patches) -> dict[str, float | None]:
    """What must hold whatever the crosscoder: `everything` is the IT model, so its KL is 0 to the
    rounding of the model's own type."""
    kl = table["everything"]["tokens"]["all"]["kl"]["value"]
    none = table[NONE]["tokens"]["all"]["kl"]["value"]
    return {"kl_of_everything": kl, "kl_of_none": none}
