"""Layers are compared where the experiments differ in their layer and in nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.analysis.layers.result import LAYERS, Layers
from pipeline.analysis.layers.run import alike, compared
from pipeline.artifacts import Manifest, write_json
from pipeline.config.models import HookPointConfig
from pipeline.report.findings import Findings
from pipeline.report.sections.layers import show
from tests.report.change_lists import write_changes
from tests.report.results import made_up_findings


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    write_changes(tmp_path, 3)
    return made_up_findings(tmp_path)


def hook_point(layer: int, layers: tuple[int, ...] = (1, 2, 3)) -> HookPointConfig:
    plain: dict[str, Any] = {"dtype": "float32", "attention": "auto"}
    return HookPointConfig(layer=layer, layers=layers, **plain)


def manifests(layer: int, **sections: Any) -> list[Manifest]:
    """Of results made at a layer, with these further sections."""
    lineage = {"hook_point": hook_point(layer).model_dump(mode="json"), **sections}
    return [Manifest("results", 1, "", {}, lineage, {}, {}, {}, {}, {})]


def experiment(findings: Findings, layer: int, **sections: Any) -> Layers:
    """What the stage leaves in the folder after an experiment."""
    found = compared(findings.folder, hook_point(layer), manifests(layer, **sections))
    write_json(findings.folder / LAYERS.name, found)
    return found


def test_experiments_at_other_layers_stay_and_the_same_one_is_replaced(findings: Findings) -> None:
    for layer in (3, 1, 3):
        found = experiment(findings, layer, train={"n_rows": 5})
    assert [row["layer"] for row in found["rows"]] == [1, 3]
    assert found["rows"][0]["l0"]["value"] is not None


def test_rows_that_were_made_otherwise_or_of_layers_that_are_not_read_go(
    findings: Findings,
) -> None:
    experiment(findings, 1, train={"n_rows": 5})
    found = experiment(findings, 2, train={"n_rows": 6})
    assert [row["layer"] for row in found["rows"]] == [2]
    fewer = compared(findings.folder, hook_point(3, (1, 3)), manifests(3, train={"n_rows": 6}))
    assert [row["layer"] for row in fewer["rows"]] == [3]
    assert alike(manifests(1)) == alike(manifests(3)) != alike(manifests(1, dump={"seed": 1}))


def test_the_page_shows_layers_where_more_than_one_was_run(findings: Findings) -> None:
    def section(layer: int):
        result = experiment(findings, layer)
        config = findings.config.model_copy(update={"hook_point": hook_point(layer)})
        known = replace(findings, config=config, _files={LAYERS.name: result})
        return show(known)

    assert section(1) is None
    shown = section(2)
    assert shown is not None
    names = [[row.name for row in grid.rows] for grid in shown.tables.values()]
    assert names == [["1", "2 (this page)"]] * 2
    assert shown.facts == {"layer": 2, "missing": [3]}
