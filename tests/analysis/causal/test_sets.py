import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.causal.sets import STRATUM, latent_sets, random_sets


def latents(n: int = 40) -> dict[str, np.ndarray]:
    verdict = np.array(
        ["turned", "shared", "moved"] + ["shared"] * (n - 6) + ["it_only", "undecided", "dead"]
    )
    nu = np.linspace(1.0, 0.0, n)
    nu[0] = np.nan
    return {
        "verdict": verdict,
        "norm_bin": np.where(np.arange(n) < 2, "base_only", "shared"),
        "nu_eps_it": nu,
        "delta": np.linspace(0.0, 1.0, n),
        "n_active": np.arange(n)[::-1].copy(),
    }


def test_halves_hold_the_live_latents_once_in_order_of_the_figure() -> None:
    sets = latent_sets(latents())
    assert sorted([*sets["nu_low"], *sets["nu_high"]]) == list(range(1, 39))
    assert sorted([*sets["delta_low"], *sets["delta_high"]]) == list(range(39))
    assert sets["nu_low"].min() > sets["nu_high"].max()
    assert sets["delta_high"].min() > sets["delta_low"].max()
    assert sets["all"].size == 40
    assert sets["norm_exclusive"].tolist() == [0, 1]
    assert sets["verdict_exclusive"].tolist() == [37]
    assert sets["verdict_changed"].tolist() == [0, 2]
    assert sets["verdict_shared"].tolist() == [1, *range(3, 37)]


def test_sets_without_a_latent_are_left_out() -> None:
    table = latents()
    table["verdict"] = np.full(40, "dead")
    assert set(latent_sets(table)) == {"all", "norm_exclusive"}


@given(st.sets(st.integers(0, 99), min_size=1, max_size=60), st.integers(0, 10))
def test_random_sets_have_the_size_and_the_firing_rates_of_their_target(
    target: set[int], seed: int
) -> None:
    n_active = np.random.default_rng(5).permutation(np.arange(100))
    rank = np.argsort(np.argsort(n_active[n_active > 0], kind="stable"), kind="stable")
    live = np.flatnonzero(n_active > 0)
    stratum = dict(zip(live.tolist(), (rank // STRATUM).tolist(), strict=True))
    wanted = np.array(sorted(target & set(live.tolist())), dtype=np.int64)
    for drawn in random_sets(wanted, n_active, 3, np.random.default_rng(seed)):
        assert np.unique(drawn).size == drawn.size == wanted.size
        assert sorted(stratum[j] for j in drawn) == sorted(stratum[j] for j in wanted.tolist())


def test_draws_differ_and_follow_the_generator() -> None:
    target, n_active = np.arange(20), np.arange(1, 101)
    one, two = random_sets(target, n_active, 2, np.random.default_rng(0))
    again, _ = random_sets(target, n_active, 2, np.random.default_rng(0))
    assert one.tolist() == again.tolist() != two.tolist()
