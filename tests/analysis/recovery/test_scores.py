"""Scores of verdicts against a truth written down by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.analysis.decoders.geometry import IN_BOTH
from pipeline.analysis.recovery.kinds import change_of
from pipeline.analysis.recovery.matching import Cooccurrence, direction_cosine, match
from pipeline.analysis.recovery.result import FEATURE_COLUMNS, LATENT_COLUMNS
from pipeline.analysis.recovery.scores import (
    artefact_scores,
    decade_of,
    feature_table,
    latent_table,
    recovery_scores,
    truth_of,
    with_frequency,
)
from pipeline.config import compose
from pipeline.plant.features import draw_features
from tests.plant.plants import plant

N_ROWS = 1000
LIMITS = compose(["+experiment=planted"]).recovery
GROUPS = {
    "shared": {"n": 2, "rate_low": 0.2},
    "it_only": {"n": 2, "base_gain": 0.0, "rate_low": 0.0005, "document_share": 1.0},
    "base_only": {"n": 1, "it_gain": 0.0},
    "rescaled": {"n": 1, "base_gain": 0.1},
}
FEATURES = draw_features(plant(GROUPS), 16, ("pile", "chat"))


def verdicts(**columns: list) -> pd.DataFrame:
    n = len(columns["verdict"])
    nu = {name: [0.5] * n for name in ("nu_eps", "nu_eps_low", "nu_eps_high")}
    return pd.DataFrame({"latent": range(n), **nu, **columns})


def scored(verdict: list[str], r: list[float], stands_for: list[int]) -> Any:
    """Latents that stand for the features of these numbers (-1: none), by a clear correlation."""
    correlation = np.zeros((len(verdict), FEATURES.n))
    for latent, feature in enumerate(stands_for):
        if feature >= 0:
            correlation[latent, feature] = 0.9 - 0.01 * latent
    matching = match(correlation, np.ones_like(correlation), min_correlation=0.5, min_cosine=0.5)
    in_both = [name in IN_BOTH for name in verdict]
    table = verdicts(verdict=verdict, in_both=in_both, relative_norm=r)
    active = np.full(len(verdict), 5)
    together = Cooccurrence(N_ROWS, correlation, active, np.full(FEATURES.n, 9))
    features = feature_table(
        FEATURES.table(), table, matching, together, limits=LIMITS, scale_ratio=1.0
    )
    latents = latent_table(table, features, matching, together)
    features, latents = (with_frequency(part, 0.001) for part in (features, latents))
    assert tuple(features) == FEATURE_COLUMNS
    assert tuple(latents) == LATENT_COLUMNS
    return recovery_scores(features, latents, exclusive_below=0.2)


def test_every_rate_is_counted_from_the_truth() -> None:
    # Features: 0, 1 shared; 2 (common), 3 (rare) IT-only; 4 base-only; 5 rescaled, at the border.
    found = scored(
        ["shared", "it_only", "it_only", "undecided", "base_only", "it_only", "it_only"],
        [0.5, 0.95, 0.95, 0.9, 0.1, 0.9, 0.9],
        [0, 1, 2, 3, 4, 5, -1],
    )
    assert (found["n_features"], found["n_found"], found["n_latents_without_feature"]) == (6, 6, 1)
    it_only = found["criteria"]["nu"]["exclusive"]["it_only"]
    assert it_only["all"]["n_features"] == 2
    assert it_only["all"]["recall"] == 0.5
    assert it_only["common"]["recall"] == 1.0
    assert it_only["rare"]["recall"] == 0.0
    # Called IT-only: latents 1 (shared: false), 2 (true), 5 (border), 6 (no feature: false).
    assert (it_only["all"]["n_called"], it_only["all"]["n_false"]) == (4, 2)
    assert it_only["all"]["n_border"] == 1
    assert it_only["all"]["precision"] == pytest.approx(1 / 3)
    assert it_only["all"]["fdr"] == pytest.approx(2 / 3)
    assert it_only["all"]["fdr_strict"] == 0.75
    assert it_only["all"]["f1"] == pytest.approx(0.4)
    both = found["criteria"]["nu"]["exclusive"]["exclusive"]["all"]
    assert (both["n_features"], both["n_recalled"], both["n_called"]) == (3, 2, 5)
    kinds = found["criteria"]["nu"]["kinds"]
    assert kinds["shared"]["all"]["recall"] == 0.5
    assert kinds["it_only"]["rare"]["n_called"] == 0


def test_kinds_of_change_are_counted_from_the_truth() -> None:
    # Features: 0, 1 shared; 2, 3 IT-only; 4 base-only; 5 at the border. The last three latents
    # stand for none: the background may be turned, it cannot have moved.
    found = scored(
        [
            "shared",
            "turned",
            "it_only",
            "stronger",
            "undecided",
            "weaker",
            "shared",
            "turned",
            "moved",
        ],
        [0.5] * 9,
        [0, 1, 2, 3, 4, 5, -1, -1, -1],
    )["verdicts"]
    assert found["confusion"]["shared"] == {"shared": 1, "turned": 1}
    assert found["confusion"]["it_only"] == {"it_only": 1, "stronger": 1}
    assert found["confusion"]["base_only"] == {"undecided": 1}
    assert found["confusion"]["border"] == {"weaker": 1}
    assert found["n_wrong"] == 2
    kinds = {kind: rates["all"] for kind, rates in found["kinds"].items()}
    shared, turned, weaker = kinds["shared"], kinds["turned"], kinds["weaker"]
    assert (shared["recall"], shared["n_called"], shared["n_false"]) == (0.5, 2, 0)
    assert (turned["n_features"], turned["n_called"], turned["n_false"]) == (0, 2, 1)
    assert (kinds["moved"]["n_called"], kinds["moved"]["n_false"]) == (1, 1)
    assert (weaker["n_called"], weaker["n_border"], weaker["fdr"]) == (1, 1, None)


@pytest.mark.parametrize(
    ("group", "change"),
    [
        ({}, "shared"),
        ({"cosine": 0.9}, "shared"),
        ({"cosine": 0.6}, "turned"),
        ({"cosine": 0.6, "it_gain": 0.35}, "turned"),
        ({"base_gain": 0.5}, "stronger"),
        ({"it_gain": 0.35}, "weaker"),
        ({"it_gain": 0.8}, "shared"),
        ({"base_gain": 0.1}, "border"),
        ({"base_gain": 0.0}, "it_only"),
        ({"it_gain": 0.0}, "base_only"),
        ({"base_contexts": "pile", "it_contexts": "chat"}, "moved"),
        ({"base_contexts": "pile"}, "border"),
    ],
)
def test_what_a_feature_is_follows_from_gains_directions_and_contexts(
    group: dict[str, Any], change: str
) -> None:
    table = draw_features(plant({"one": {"n": 1, **group}}), 8, ("pile", "chat")).table()
    assert change_of(table.iloc[0], LIMITS, 1.0) == change


def test_strengths_are_compared_in_the_crosscoders_own_space() -> None:
    table = draw_features(plant({"one": {"n": 1, "base_gain": 0.8}}), 8, ("pile", "chat")).table()
    assert change_of(table.iloc[0], LIMITS, 0.7) == "stronger"


def test_a_false_call_without_a_feature_counts_at_its_own_frequency() -> None:
    found = scored(["it_only"], [0.9], [-1])["criteria"]["nu"]["exclusive"]["it_only"]
    assert found["common"]["n_false"] == 1  # active on 5 of 1000 rows
    assert found["rare"]["n_called"] == 0


def test_norm_bins_are_scored_by_the_published_criteria() -> None:
    found = scored(["shared"] * 3, [0.5, 0.9, 0.96], [0, 2, 3])["criteria"]
    recalled = {
        name: found[name]["exclusive"]["it_only"]["all"]["n_recalled"]
        for name in ("norm_reference", "norm_minder", "norm_anthropic", "nu")
    }
    assert recalled == {"norm_reference": 2, "norm_minder": 2, "norm_anthropic": 1, "nu": 0}


def test_artefacts_are_named_by_what_else_stands_for_the_feature() -> None:
    found = scored(
        ["shared", "undecided", "it_only", "it_only"], [0.95, 0.05, 0.95, 0.99], [0, 0, 1, 2]
    )["artefacts"]
    assert found["latent_decoupling"] == {
        "n": 2,
        "n_flagged": 1,
        "n_undecided": 1,
        "n_at_limit": 0,
        "n_fooled": 0,
        "share_flagged": 0.5,
        "share_flagged_beyond": 0.5,
    }
    assert (found["complete_shrinkage"]["n"], found["complete_shrinkage"]["n_fooled"]) == (1, 1)


def test_what_no_rows_could_settle_is_counted_apart() -> None:
    latents = pd.DataFrame(
        {
            "artefact": ["complete_shrinkage"] * 4 + [""],
            "by_nu": ["shared", "undecided", "undecided", "shared", "undecided"],
            "nu_true": [0.5, 0.21, 0.4, 0.21, 0.2],
        }
    )
    found = artefact_scores(latents, 0.2)["complete_shrinkage"]
    assert (found["n"], found["n_undecided"], found["n_at_limit"]) == (4, 2, 1)
    assert found["share_flagged"] == 0.5
    assert found["share_flagged_beyond"] == pytest.approx(2 / 3)


def test_a_latent_stands_for_a_feature_only_if_both_direction_and_activation_agree() -> None:
    correlation = np.array([[0.9, 0.0], [0.9, 0.8], [0.2, 0.9]])
    cosine = np.array([[0.3, 0.9], [0.9, 0.9], [0.9, 0.95]])
    found = match(correlation, cosine, min_correlation=0.5, min_cosine=0.5)
    assert found.feature_L.tolist() == [-1, 0, 1]
    assert found.latent_F.tolist() == [1, 2]


def test_directions_are_compared_in_the_crosscoders_own_space() -> None:
    scale = np.array([0.5, 2.0])
    gained = FEATURES.direction_FMD * FEATURES.gain_FM[:, :, None] * scale[:, None]
    cosine = direction_cosine(3.0 * gained, FEATURES, scale)
    assert np.diag(cosine) == pytest.approx(np.ones(FEATURES.n))
    raw = direction_cosine(FEATURES.direction_FMD * FEATURES.gain_FM[:, :, None], FEATURES, scale)
    assert raw[0, 0] < 0.95


@pytest.mark.parametrize(
    ("base", "it", "truth"),
    [
        (1, 1, "shared"),
        (0.3, 1, "shared"),
        (0.2, 1, "border"),
        (1, 0.1, "border"),
        (0, 1, "it_only"),
        (1, 0, "base_only"),
        (0.1, 0.2, "shared"),
    ],
)
def test_what_a_feature_is_follows_from_its_gains(base: float, it: float, truth: str) -> None:
    assert truth_of(base, it, 0.2) == truth


def test_decades_are_closed_below() -> None:
    names = [decade_of(rate) for rate in (0.5, 0.01, 0.0099, 1e-3, 1e-4, 9e-5)]
    assert names == ["1e-2 and above"] * 2 + ["1e-3 to 1e-2"] * 2 + ["1e-4 to 1e-3", "below"]


def test_correlation_is_that_of_the_activations(tmp_path, monkeypatch) -> None:
    from pipeline.analysis.heldout import Window
    from pipeline.analysis.recovery.matching import cooccurrence
    from tests.analysis.stores import heldout_store, random_crosscoder

    monkeypatch.chdir(tmp_path)
    crosscoder = random_crosscoder(n_latents=6, d_model=5)
    features = draw_features(plant({"shared": {"n": 3, "rate_low": 0.2}}), 5, ("pile", "chat"))
    rows = torch.randn(400, 2, 5, generator=torch.Generator().manual_seed(0))
    with heldout_store(tmp_path / "store", rows) as reader:
        found = cooccurrence(crosscoder, features, Window(reader, 10**6, 90))
        labels = [reader.read(n).astype(np.int64) for n in ("document", "sequence", "position")]
    x = crosscoder.normalise(rows.bfloat16().float())
    f, g = crosscoder.encode(x).detach().numpy(), features.activations(*labels)
    expected = np.corrcoef(f.T, g.T)[:6, 6:]
    assert found.correlation_LF == pytest.approx(np.nan_to_num(expected), abs=1e-5)
    assert found.n_active_F.tolist() == (g > 0).sum(axis=0).tolist()
    assert found.n_rows == 400
