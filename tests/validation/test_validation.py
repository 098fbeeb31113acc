"""The validation in small: every kind of experiment in it is run, scored and gathered, once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import compose
from pipeline.validation.experiments import VALIDATION, plan
from pipeline.validation.run import validate
from tests.forks import forks

ROOT = Path(__file__).parents[2]
SMALL = [
    "+experiment=planted",
    "validation=short",
    "validation.seeds=[49]",
    "~validation.variants.DSF",
    "~validation.variants.JumpReLU",
    "~validation.variants.L1",
]


@pytest.fixture(scope="module")
def folder(module_path: Path) -> Path:
    (module_path / "conf").symlink_to(ROOT / "conf")
    return module_path


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def validation(folder: Path) -> dict[str, Any]:
    """Each workspace's stages run in a fork, which spares the start of five processes."""
    with (
        forks("tests.validation.chained", folder) as chains,
        pytest.MonkeyPatch.context() as patch,
    ):

        def run_child(command: Sequence[str], *, cwd: Path, env: object) -> tuple[int, str]:
            ended = chains.run(str(cwd.absolute()), *command[3:])
            return ended.statuses[0], ended.said

        patch.chdir(folder)
        patch.setattr("pipeline.workspace.run_child", run_child)
        return validate(compose(SMALL))


def test_it_holds_planted_truth_null_pairs_and_seeds(
    validation: dict[str, Any],
) -> None:
    variant = validation["variants"]["BatchTopK"]
    shared = variant["kinds"]["shared"]["all"]["nu"]
    assert shared["n_features"] == 8
    assert shared["recall"]["value"] > 0.5
    assert variant["verdicts"]["exclusive"]["all"]["nu"]["n_features"] == 10
    assert variant["l0"]["value"] == pytest.approx(6, abs=1)
    assert validation["nulls"]["planted"]["same"]["BatchTopK"]["n_false"] == 0
    assert validation["seeds"]["n_runs"] == 2
    assert json.loads(json.dumps(validation, allow_nan=False)) == validation


def test_a_finished_validation_is_not_run_again(validation: dict[str, Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in VALIDATION.rglob("*") if path.is_file()}
    assert validate(compose(SMALL)) == validation
    after = {path: path.stat().st_mtime_ns for path in VALIDATION.rglob("*") if path.is_file()}
    assert after == before


def test_the_whole_validation_covers_every_variant_seed_and_null_pair() -> None:
    planned = plan(compose(["+experiment=planted"]).validation)
    assert {name: len(runs) for name, runs in planned.variants.items()} == dict.fromkeys(
        ("L1", "BatchTopK", "DSF", "JumpReLU"), 3
    )
    assert set(planned.nulls) == {"planted", "activations"}
    assert set(planned.nulls["planted"]) == {"same", "noise", "swapped", "mispaired"}
    names = [run.name for run in [*planned.rows, *planned.paired, *planned.judged()]]
    assert len(names) == len(set(names))
    made = {run.name for run in [*planned.rows, *planned.paired]}
    assert all(run.of in made for run in planned.judged())
