"""What a group asks for is what is planted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.plant.features import Features, draw_features
from tests.plant.plants import plant

PILE, CHAT = 0, 1

N_ROWS, LENGTH = 60_000, 50


def labels(n_rows: int = N_ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row = np.arange(n_rows)
    return row // LENGTH, row // LENGTH, row % LENGTH


def features(**group: object) -> Features:
    return draw_features(plant({"kind": group}), d_model=32, sources=("pile", "chat"))


def test_each_feature_fires_at_its_rate_with_its_mean_strength() -> None:
    found = features(n=6, rate_low=0.002, rate_high=0.3, document_share=0.8)
    g = found.activations(*labels())
    assert (g > 0).mean(axis=0) == pytest.approx(found.rate_F, rel=0.25)
    assert g.sum() / (g > 0).sum() == pytest.approx(2.0, rel=0.03)
    assert found.rate_F[[0, -1]] == pytest.approx([0.3, 0.002])


def test_strength_varies_as_the_spread_says() -> None:
    fired = np.concatenate(
        [g[g > 0] for g in features(strength_spread=0.5).activations(*labels()).T]
    )
    assert np.log(fired).std() == pytest.approx(0.5, rel=0.03)


def test_a_feature_fires_in_its_share_of_the_documents_alone() -> None:
    g = features(n=8, rate_low=0.2, rate_high=0.2, document_share=0.25).activations(*labels())
    fires = (g.reshape(-1, LENGTH, 8) > 0).any(axis=1).mean()
    assert fires == pytest.approx(0.25, abs=0.04)


@settings(max_examples=30)
@given(data=st.data())
def test_an_activation_depends_on_its_row_alone(data: st.DataObject) -> None:
    found = features(n=5, cluster_size=2, cofiring=0.5)
    every = found.activations(*labels(2_000))
    chosen = np.array(data.draw(st.lists(st.integers(0, 1_999), min_size=1, max_size=40)))
    some = found.activations(*(label[chosen] for label in labels(2_000)))
    assert np.array_equal(some, every[chosen])


def test_the_members_of_a_cluster_fire_together_and_others_do_not() -> None:
    found = features(n=4, cluster_size=2, cofiring=0.6, rate_low=0.05, rate_high=0.05)
    on = found.activations(*labels()) > 0
    given_first = on[on[:, 0]].mean(axis=0)
    assert given_first[1] == pytest.approx(0.6, abs=0.05)
    assert given_first[2] < 0.15
    assert on.mean(axis=0) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("cosine", [1.0, 0.5, 0.0, -1.0])
def test_the_directions_are_unit_vectors_at_the_stated_cosine(cosine: float) -> None:
    direction = features(n=7, cosine=cosine).direction_FMD
    assert np.linalg.norm(direction, axis=2) == pytest.approx(np.ones((7, 2)))
    assert (direction[:, 0] * direction[:, 1]).sum(axis=1) == pytest.approx(np.full(7, cosine))


def test_what_is_added_is_the_gain_along_the_direction_in_the_contexts() -> None:
    found = features(n=1, base_gain=0.5, it_gain=2.0, base_contexts="pile", cosine=0.3)
    added = found.contributions(np.full((2, 1), 3.0), np.array([PILE, CHAT]))
    base, it = found.direction_FMD[0]
    assert added[0, 0] == pytest.approx(1.5 * base, rel=1e-5)
    assert added[0, 1] == pytest.approx(6.0 * it, rel=1e-5)
    assert not added[1, 0].any()
    assert added[1, 1] == pytest.approx(6.0 * it, rel=1e-5)


def test_the_seed_decides_where_and_which_way() -> None:
    a, b = (draw_features(plant({"kind": {}}, seed=seed), 32, ("pile", "chat")) for seed in (3, 4))
    assert not np.allclose(a.direction_FMD, b.direction_FMD)
    assert not np.array_equal(a.activations(*labels()) > 0, b.activations(*labels()) > 0)


def test_a_new_group_leaves_the_directions_of_those_before_it_independent_of_its_rates() -> None:
    few = draw_features(plant({"a": {}, "b": {"rate_high": 0.3}}), 32, ("pile", "chat"))
    other = draw_features(plant({"a": {}, "b": {"rate_high": 0.05}}), 32, ("pile", "chat"))
    assert np.array_equal(few.direction_FMD, other.direction_FMD)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"rate_low": 0.5, "rate_high": 0.1}, "rate_low"),
        ({"rate_high": 0.9}, "cofiring"),
        ({"base_gain": 0.0, "it_gain": 0.0}, "give the feature to a model"),
        ({"gain": 1.0}, "gain"),
    ],
)
def test_a_group_that_cannot_be_planted_is_refused(group: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        plant({"kind": group})
