"""The section on the training run: its curves."""

from typing import Any

from pipeline.analysis.charts import curve_figure
from pipeline.report.findings import Findings
from pipeline.report.format import number
from pipeline.report.section import Chart, Section, Shown, Table
from pipeline.results import table
from pipeline.training.result import CURVE

CURVES: dict[str, tuple[dict[str, str], str, bool, str]] = {
    "loss": ({"loss": "loss"}, "loss", True, "Training loss"),
    "l0": ({"l0": "L0"}, "latents on per token", False, "Sparsity (L0)"),
    "training_fve": (
        {"fve_it": "IT", "fve_base": "base"},
        "variance explained",
        False,
        "Variance explained",
    ),
    "dead": ({"n_dead": "dead"}, "dead latents", False, "Dead latents"),
    "gradient": ({"gradient_norm": "norm"}, "gradient norm", True, "Norm of the gradient"),
}
"""Chart -> the columns it draws with their names, title of the axis, whether it is logarithmic,
and what the caption calls it."""


def show(findings: Findings) -> Shown:
    curve = thinned(table(findings.read(CURVE)), findings.config.report.n_curve_points)
    return Shown(
        {
            name: drawn(curve, columns, title, log, caption)
            for name, (columns, title, log, caption) in CURVES.items()
            if curve["n_rows"] and all(column in curve for column in columns)
        }
    )


SECTION = Section("training", "Training", show)


def drawn(curve: Table, columns: dict[str, str], title: str, log: bool, caption: str) -> Chart:
    return Chart(
        f"{caption}, {ends(curve[next(iter(columns))])}",
        170,
        {"n_rows": curve["n_rows"], **{column: curve[column] for column in columns}},
        lambda table, palette: curve_figure(table, columns, palette, title=title, log=log),
    )


def ends(values: list[Any]) -> str:
    known = [value for value in values if value is not None]
    return f"from {number(known[0])} to {number(known[-1])}" if known else "unknown"


def thinned(table: Table, n_points: int) -> Table:
    """At most about `n_points` rows, evenly spaced, the last one always among them."""
    n = len(next(iter(table.values()), []))
    step = max(1, -(-n // n_points))
    kept = sorted({*range(0, n, step), n - 1}) if n else []
    return {name: [values[i] for i in kept] for name, values in table.items()}
