"""The study of known edits pooled over pairs, by hand."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.config.compose import compose
from pipeline.runtime import numpy_generator
from pipeline.validation.edit_scores import (
    aims,
    by_strength,
    controls,
    limited,
    method_scores,
    method_table,
)
from pipeline.validation.edit_study import base_folder, pairs_of


def pair(recovered: int, named: list[int], listed: list[str]) -> Any:
    """Two edits, the second too small to be wanted, and a list of four entries."""
    edit = {"name": "a", "group": "g", "form": "token_added", "rate": 0.01, "kind": "new"}
    edit |= {"margin": 1.0}
    changes = {
        **{"n": 10, "recovered_n": recovered, "recovered_more": recovered, "recovered": recovered},
        **{"n_entries": 4, "false": 1, "duplicates": 0},
        **{"kinds_right": recovered, "kinds_undecided": 0, "kinds_judged": recovered},
        **{"cosines": [0.5, 1.0], "controls_listed": listed},
        "named": [{"edit": e, "is_new": True, "cosine": 1.0, "kind": "new"} for e in named],
    }
    return {
        "edits": [
            edit | {"strength": 4.0, "share": 0.1, "wanted": True},
            edit | {"strength": 1.0, "share": 0.001, "wanted": False},
        ],
        "controls": ["b", "c"],
        "methods": {"changes": changes},
    }


PAIRS = [pair(10, [0, 1], []), pair(8, [1], ["c"])]


def scores() -> Any:
    random = numpy_generator(1, "test")
    bootstrap = Bootstrap(2, n_resamples=200, confidence=0.95, random=random)
    return method_scores(PAIRS, bootstrap)


def test_counts_are_pooled_and_seeds_resampled() -> None:
    rate = scores()["changes"]["rates"]["recall_more"]
    assert (rate["count"], rate["of"], rate["value"]) == (18, 20, 0.9)
    assert (rate["low"], rate["high"]) == (0.8, 1.0)
    table = method_table(scores())
    assert table["rate"][:2] == ["recall_n", "recall_more"]


def test_small_edits_stand_among_the_strengths_but_not_among_the_wanted() -> None:
    found = {row["strength"]: row for row in by_strength(PAIRS)}
    strong, weak = found[4.0], found[1.0]
    assert (strong["wanted"], strong["named_of_wanted"], strong["named"]) == (2, 1, 1)
    assert (weak["wanted"], weak["named_of_wanted"], weak["named"], weak["made"]) == (0, 0, 2, 2)
    assert weak["median_share"] == 0.001


def test_the_limit_of_a_rate_is_clopper_and_pearsons() -> None:
    assert limited(0, 40, 0.95)["high"] == pytest.approx(1 - 0.05 ** (1 / 40))
    assert limited(20, 20, 0.95)["high"] == 1.0
    assert controls(PAIRS, 0.95)["count"] == 1
    assert controls(PAIRS, 0.95)["of"] == 4


def test_aims_are_missed_and_met() -> None:
    nulls = {"same": limited(0, 1, 0.95), "rows": limited(2, 20, 0.95)}
    rows = aims(scores()["changes"], nulls, max_false=0.05, max_null_rate=0.05)
    met = [row["met"] for row in rows]
    assert met == [False, True, False, True, False]


def test_every_pair_of_the_study_stands_on_the_one_base_model_and_composes() -> None:
    study = compose(["+experiment=edited", "edit_study.base_model=a/base"]).edit_study
    pairs = pairs_of(study)
    assert [pair.name for pair in pairs] == [f"edits_{seed}" for seed in study.seeds]
    models = compose(list(pairs[1].overrides)).models
    assert models.base.kind == "local"
    assert models.base.path == str(Path("a/base").absolute())
    assert models.it.kind == "edited"
    assert models.it.seed == study.seeds[1]
    made = base_folder(compose(["+experiment=edited"]).edit_study)
    assert made == (Path("data/validation/edits_base/data/models/base")).absolute()
