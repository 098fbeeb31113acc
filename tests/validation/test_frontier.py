from typing import Any

import pytest

from pipeline.analysis.charts.look import FILE_PALETTE, image_files
from pipeline.validation.charts import frontier_figure
from pipeline.validation.frontier import COLUMNS, frontier_table, nested


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def evaluation(l0: float, fve: float, delta_ce: float) -> dict[str, Any]:
    rows = {name: estimate(fve) for name in ("fve_both", "fve_base", "fve_it")}
    spliced = {"delta_ce_spliced": estimate(delta_ce), "ce_recovered_zero": estimate(0.9)}
    return {
        "dead_latents": 3,
        "reconstruction": {"all": {"l0": estimate(l0), **rows}},
        "splice": {"base": {"all": spliced}, "it": {"all": spliced}},
    }


POINTS = {
    ("L1", 0.5): evaluation(40, 0.9, 0.2),
    ("L1", 2.0): evaluation(10, 0.8, 0.4),
    ("BatchTopK", 16): evaluation(16, 0.9, 0.25),
}


def test_the_table_holds_every_point_with_intervals() -> None:
    table = frontier_table(POINTS)
    assert table["variant"] == ["L1", "L1", "BatchTopK"]
    assert table["l0"] == [40, 10, 16]
    assert table["delta_ce_it_high"] == pytest.approx([0.21, 0.41, 0.26])
    plain = {name.removesuffix("_low").removesuffix("_high") for name in table}
    assert plain == set(COLUMNS) - {"*_low, *_high"}


def test_each_variants_points_go_from_sparse_to_dense() -> None:
    by_variant = nested(frontier_table(POINTS))
    assert [row["l0"] for row in by_variant["L1"]] == [10, 40]
    assert by_variant["BatchTopK"][0]["value"] == 16
    assert "variant" not in by_variant["L1"][0]


def test_the_frontier_is_drawn() -> None:
    drawn = image_files("frontier", frontier_figure(frontier_table(POINTS), FILE_PALETTE))
    assert b"BatchTopK" in drawn["frontier.svg"]
