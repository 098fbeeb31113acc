from typing import Any

import numpy as np
import pytest

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.evaluation.rows_pass import HeldoutSums
from pipeline.analysis.evaluation.splice import PATCHES, SpliceSums
from pipeline.analysis.evaluation.table import evaluation, splice_table, summary
from pipeline.analysis.groups import Cells

CELLS = Cells(("pile", "chat"))

MODELS = {"base": {"kind": "trained"}, "it": {"kind": "tuned"}}
U, L = 6, 4


def bootstrap(n: int) -> Bootstrap:
    return Bootstrap(n, n_resamples=200, confidence=0.9, random=np.random.default_rng(0))


def heldout() -> HeldoutSums:
    random = np.random.default_rng(0)
    n_UC = np.full((U, CELLS.n), 100.0)
    total = n_UC[..., None] * random.uniform(1, 2, size=(U, CELLS.n, 3))
    fired = np.array([[5, 0, 0, 9]] * CELLS.n)
    return HeldoutSums(
        n_UC=n_UC,
        n_active_UC=n_UC * random.uniform(9, 11, size=(U, CELLS.n)),
        error_UCK=total * 0.2,
        total_UCK=total,
        reference_ev_UCM=n_UC[..., None] * np.array([0.7, 0.8]),
        reference_ev_UC=n_UC * 0.75,
        n_fired_CL=fired,
        sum_fired_CL=fired * 1.0,
        max_L=np.ones(L),
        mean_KD=np.zeros((3, 2)),
        activation_scale_M=np.ones(2),
        cells=CELLS,
    )


def splices() -> SpliceSums:
    n_QC = np.full((U, CELLS.n), 10.0)
    ce = np.zeros((2, U, CELLS.n, len(PATCHES)))
    ce[0], ce[1] = (
        np.array([2.0, 2.5, 8.0, 7.0, 2.6, 8.5]) * 10,
        np.array([3.0, 3.1, 9.0, 5.0, 3.2, 9.5]) * 10,
    )
    kl = np.zeros_like(ce)
    kl[0], kl[1] = (
        np.array([0.0, 0.4, 6.0, 5.0, 0.5, 6.5]) * 10,
        np.array([0.0, 0.2, 6.0, 3.0, 0.3, 6.5]) * 10,
    )
    return SpliceSums(n_QC, ce, kl, CELLS)


def evaluated(l0_training: float | None) -> Any:
    return evaluation(
        heldout(),
        splices(),
        bootstrap_of={"rows": bootstrap(U), "splice": bootstrap(U)},
        confidence=0.9,
        models=MODELS,
        l0_training=l0_training,
    )


def test_the_l0_gap_is_held_out_minus_training_with_its_interval() -> None:
    full = evaluated(8.0)
    l0 = full["reconstruction"]["all"]["l0"]
    assert full["l0_training"] == 8.0
    assert full["l0_gap"]["value"] == pytest.approx(l0["value"] - 8)
    assert full["l0_gap"]["low"] == pytest.approx(l0["low"] - 8)
    assert summary(full)["l0_gap"] == pytest.approx(full["l0_gap"]["value"], abs=1e-6)


def test_the_size_of_the_difference_is_its_variance_beside_that_of_the_models() -> None:
    sums = heldout()
    base, it, difference = sums.total_UCK.sum(axis=(0, 1))
    full = evaluated(8.0)
    share = full["reconstruction"]["all"]["difference_share"]
    assert share["value"] == pytest.approx(difference / ((base + it) / 2))
    assert share["low"] < share["value"] < share["high"]
    assert summary(full)["difference_share"] == pytest.approx(share["value"], abs=1e-6)


def test_a_crosscoder_that_was_not_trained_here_has_no_gap() -> None:
    full = evaluated(None)
    assert full["l0_gap"] == {"value": None, "low": None, "high": None}


def test_both_models_together_are_the_mean_over_their_predictions() -> None:
    table = splice_table(splices(), bootstrap(U))
    both = table["both"]["chat"]
    assert set(table) == {"base", "it", "both"}
    assert both["n_predictions"] == 2 * table["it"]["chat"]["n_predictions"]
    assert both["ce_clean"]["value"] == pytest.approx(2.5)
    assert both["delta_ce_spliced"]["value"] == pytest.approx(0.3)
    assert both["kl_spliced"]["value"] == pytest.approx(0.3)
    assert both["ce_recovered_zero"]["value"] == pytest.approx(1 - 0.6 / 12)
    assert both["kl_recovered_mean"]["value"] == pytest.approx(1 - 0.6 / 8)


def test_every_group_has_every_figure_and_dead_latents_have_their_window() -> None:
    full = evaluated(8.0)
    assert full["dead_latents"] == 2
    assert full["window_tokens"] == U * CELLS.n * 100
    for model in ("base", "it", "both"):
        assert set(full["splice"][model]) == set(CELLS.groups)
        for figures in full["splice"][model].values():
            assert {f"ce_{patch}" for patch in PATCHES} < set(figures)
            assert {"delta_ce_spliced", "ce_recovered_zero", "ce_recovered_mean"} < set(figures)
