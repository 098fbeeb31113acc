"""Means over seeds, sums of artefacts, null counts and targets, by hand."""

from typing import Any

import pytest

from pipeline.validation.scores import combined, interval, null_counts, targets, validation_table


def test_the_interval_over_seeds_is_students() -> None:
    found = interval([0.80, 0.82, 0.84], 0.95)
    assert found["value"] == pytest.approx(0.82)
    assert found["high"] - 0.82 == pytest.approx(4.3027 * 0.02 / 3**0.5, rel=1e-4)
    assert found["seeds"] == [0.80, 0.82, 0.84]
    assert interval([0.99, 1.0, 1.0], 0.95)["high"] == 1.0
    assert interval([0.5], 0.95)["low"] is None
    assert interval([None, None], 0.95)["value"] is None
    assert interval([None, 0.5, 0.7], 0.95)["value"] == pytest.approx(0.6)


def counts(recall: float, fdr: float) -> dict[str, Any]:
    return {
        "n_features": 10,
        "n_called": 5,
        "recall": recall,
        "precision": 1 - fdr,
        "f1": recall,
        "fdr": fdr,
        "fdr_strict": fdr,
    }


def recovery(recall: float, n_shrunk: int) -> dict[str, Any]:
    """A `recovery.json` in which nu has this recall and the norms none."""

    def part(value: float) -> dict[str, Any]:
        frequencies = {name: counts(value, 0.1) for name in ("all", "common", "rare")}
        return {
            "exclusive": {"it_only": frequencies, "base_only": frequencies},
            "kinds": {"it_only": frequencies},
        }

    artefact = {
        "n": n_shrunk,
        "n_flagged": n_shrunk - 1,
        "n_undecided": 1,
        "n_at_limit": 1,
        "n_fooled": 0,
    }
    return {
        "criteria": {"norm_minder": part(0.0), "nu": part(recall)},
        "verdicts": {
            "kinds": {"turned": {name: counts(recall, 0.1) for name in ("all", "common", "rare")}},
            "confusion": {"turned": {"turned": 9, "shared": 1}, "border": {"weaker": 3}},
            "n_wrong": 1,
        },
        "artefacts": {"complete_shrinkage": artefact},
        "gains": {},
    }


FOUND = combined([recovery(0.9, 4), recovery(1.0, 6)], 0.95)
LEVEL = {"value": 12.0, "seeds": [12.0]}


def test_seeds_are_combined_by_variant_kind_and_frequency() -> None:
    nu = FOUND["verdicts"]["it_only"]["rare"]["nu"]
    assert nu["recall"]["value"] == pytest.approx(0.95)
    assert nu["n_features"] == 20
    assert FOUND["verdicts"]["it_only"]["rare"]["norm_bins"]["recall"]["value"] == 0.0
    assert FOUND["kinds"]["it_only"]["all"]["nu"]["fdr"]["value"] == pytest.approx(0.1)
    changes = FOUND["changes"]
    assert changes["kinds"]["turned"]["common"]["recall"]["value"] == pytest.approx(0.95)
    assert changes["confusion"]["turned"] == {"turned": 18, "shared": 2}
    assert changes["share_wrong"] == pytest.approx(0.1)
    shrunk = FOUND["artefacts"]["complete_shrinkage"]
    assert (shrunk["n"], shrunk["n_flagged"], shrunk["share_flagged"]) == (10, 8, 0.8)
    assert (shrunk["n_at_limit"], shrunk["share_flagged_beyond"]) == (2, 1.0)


def test_every_exclusive_verdict_on_a_null_pair_is_false() -> None:
    scaling = {"shared": 80, "turned": 4, "stronger": 3, "weaker": 2, "moved": 1}
    scaling |= {"undecided": 6, "base_only": 1, "it_only": 3}
    found = null_counts({**scaling, "called_exclusive_by_norm": 7})
    assert (found["n_false"], found["n_live"], found["share_false"]) == (4, 100, 0.04)
    assert found["by_norm_bins"] == 7


def test_targets_say_what_was_aimed_at_and_whether_it_was_reached() -> None:
    null = {"n_false": 1, "share_false": 0.01}
    validation = {
        "variants": {"BatchTopK": FOUND, "L1": FOUND},
        "nulls": {"planted": {"same": {"L1": null}, "swapped": {"L1": null}}},
    }
    met = {row["target"]: row["met"] for row in targets(validation, 0.05)}
    assert met["BatchTopK, nu, it_only, common: F1"]
    assert not met["BatchTopK, nu, it_only: false discoveries"]
    assert met["L1, turned, common: recall"]
    assert not met["L1, turned: false discoveries"]
    assert not met["L1: features given a wrong kind"]
    assert met["L1, share of complete_shrinkage that nu does not confirm"]
    assert not met["L1, share of complete_shrinkage that nu calls shared"]
    assert met["L1, share of complete_shrinkage beyond the limit that nu calls shared"]
    assert not met["planted, same, L1: share of latents called exclusive"]
    assert met["planted, swapped, L1: share of latents called exclusive"]


def test_the_table_has_a_row_per_measure() -> None:
    table = validation_table({"variants": {"L1": {"l0": LEVEL, "fve": LEVEL, **FOUND}}})
    assert len(table["value"]) == 2 * 3 * 2 * 5
    at = list(zip(table["class"], table["criterion"], table["measure"], strict=True))
    assert table["value"][at.index(("it_only", "nu", "recall"))] == pytest.approx(0.95)
