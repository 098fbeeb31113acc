import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.analysis.charts import FILE_PALETTE, image_files
from pipeline.config import compose
from pipeline.errors import ConfigError
from pipeline.results import not_applicable
from pipeline.validation.charts import frontier_figure
from pipeline.validation.frontier import COLUMNS, frontier_table, nested
from stages.frontier import STAGE, main, point_overrides


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


def test_without_models_there_is_no_cross_entropy_and_the_rest_is_drawn() -> None:
    planted = POINTS["L1", 0.5] | {"splice": not_applicable("the experiment has no models")}
    table = frontier_table({("L1", 0.5): planted})
    assert table["delta_ce_it"] == [None]
    assert table["fve"] == [0.9]
    drawn = image_files("frontier", frontier_figure(table, FILE_PALETTE))
    assert b"variance explained" in drawn["frontier.svg"]
    assert b"cross entropy" not in drawn["frontier.svg"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user types after `python -m stages.frontier`, in the folder of the repository."""
    monkeypatch.chdir(Path(__file__).parents[2])
    arguments = ["frontier", "+experiment=tiny"]
    monkeypatch.setattr(sys, "argv", arguments)
    return arguments


def test_what_the_user_sets_prevails_over_the_frontier_but_not_over_its_sweep(
    typed: list[str],
) -> None:
    typed += ["train.n_rows=12345", "crosscoder.sparsity_coefficient=7"]
    config = compose(typed[1:])
    points = point_overrides(config, "L1", config.frontier.sweeps["L1"], 3.0)
    point = compose(points)
    assert point.train.n_rows == 12345
    assert point.evaluate.n_sequences == 40
    assert getattr(point.crosscoder, "sparsity_coefficient") == 3.0  # noqa: B009


def test_every_point_is_composed_before_any_input_is_read_or_point_trained(
    typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed += ["frontier.sweeps.BatchTopK.values=[8,99999]"]
    monkeypatch.setattr(type(STAGE), "input", lambda *_: pytest.fail("an input was read"))
    with pytest.raises(ConfigError, match=r"^frontier\.sweeps\.BatchTopK cannot .* at 99999: .*k"):
        main(compose(typed[1:]))
