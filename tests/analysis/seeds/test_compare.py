from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.charts import FILE_PALETTE, image_files
from pipeline.analysis.seeds.chart import seeds_figure
from pipeline.analysis.seeds.compare import (
    COLUMNS,
    Comparing,
    Floats,
    SeedRun,
    agreement,
    compare,
    cosines,
    kappa,
    rotated,
    span,
    subspace_overlap,
    summary,
    table,
)

D, L = 24, 40
VERDICTS = np.array(["shared"] * 28 + ["it_only"] * 6 + ["base_only"] * 4 + ["undecided"] * 2)


def how(seed: int = 0) -> Comparing:
    return Comparing(n_bootstrap=200, confidence=0.95, random=np.random.default_rng(seed))


def decoders(seed: int = 0) -> Floats:
    """Shared latents point alike in both models, exclusive ones are absent from the other."""
    random = np.random.default_rng(seed)
    W = np.repeat(random.standard_normal((L, 1, D)), 2, axis=1)
    W[VERDICTS == "it_only", 0] = 0.0
    W[VERDICTS == "base_only", 1] = 0.0
    return W


def shuffled(W: Floats, seed: int = 1) -> tuple[SeedRun, np.ndarray]:
    order = np.random.default_rng(seed).permutation(L)
    scale = np.random.default_rng(seed + 1).uniform(0.5, 2, (L, 1, 1))
    return SeedRun.of((W * scale)[order], VERDICTS[order].tolist()), order


def test_the_same_latents_in_another_order_and_size_agree_in_everything() -> None:
    other, _ = shuffled(decoders())
    found = cast(Any, compare(SeedRun.of(decoders(), VERDICTS.tolist()), other, how()))
    for verdict in ("all", "shared", "it_only", "base_only", "undecided"):
        assert found["mmcs"][verdict]["value"] == pytest.approx(1.0)
        assert found["mmcs"][verdict]["rotated"] < 0.8
    assert found["matched"]["n_pairs"] == L
    assert found["matched"]["mean_cosine"] == pytest.approx(1.0)
    assert found["verdicts"]["kappa"]["value"] == pytest.approx(1.0)
    for verdict, n in (("it_only", 6), ("base_only", 4)):
        overlap = found["subspaces"][verdict]
        assert overlap["rank"] == [n, n]
        assert overlap["overlap"] == pytest.approx(1.0)
        assert overlap["principal_angles_degrees"] == pytest.approx([0.0] * n, abs=1e-4)
        assert overlap["random"]["mean"] == pytest.approx(n / D, abs=0.05)


def test_unrelated_latents_are_as_alike_as_rotated_ones() -> None:
    first, second = (SeedRun.of(decoders(seed), VERDICTS.tolist()) for seed in (0, 9))
    found = cast(Any, compare(first, second, how()))
    assert found["mmcs"]["all"]["value"] == pytest.approx(found["mmcs"]["all"]["rotated"], abs=0.1)
    overlap = found["subspaces"]["it_only"]
    assert overlap["random"]["low"] - 0.1 < overlap["overlap"] < overlap["random"]["high"] + 0.1


def test_a_shared_and_an_exclusive_latent_of_one_direction_are_not_the_same() -> None:
    direction = np.random.default_rng(0).standard_normal(D)
    shared, it_only = np.stack([direction, direction]), np.stack([0 * direction, direction])
    assert cosines(shared[None], it_only[None])[0, 0] == pytest.approx(np.sqrt(0.5))


def test_dead_latents_do_not_count() -> None:
    verdicts = VERDICTS.copy()
    verdicts[:5] = "dead"
    run = SeedRun.of(decoders(), verdicts.tolist())
    assert len(run.W_dec_LMD) == len(run.verdict_L) == L - 5
    assert compare(run, run, how())["mmcs"]["all"]["n_latents"] == 2 * (L - 5)


def test_kappa_is_cohens() -> None:
    # Agreement 0.7, by chance 0.5: the textbook example of 20, 5, 10, 15.
    assert kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)


def test_kappa_is_unknown_where_one_verdict_holds_for_all() -> None:
    same = np.array(["shared"] * 10)
    found = agreement(same, same, how())
    assert found["agreement"]["value"] == 1.0
    assert found["kappa"] == {"value": None, "low": None, "high": None}
    assert found["counts"]["shared"]["shared"] == 10


def test_no_pairs_have_no_agreement() -> None:
    none = np.array([], dtype=np.str_)
    assert agreement(none, none, how())["n_pairs"] == 0
    assert agreement(none, none, how())["agreement"]["value"] is None


@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(0, 5))
def test_overlap_is_between_0_and_1_whatever_the_spans(seed: int, n_a: int, n_b: int) -> None:
    random = np.random.default_rng(seed)
    A, B = random.standard_normal((n_a, 8)), random.standard_normal((n_b, 8))
    found = cast(Any, subspace_overlap(A, B, Comparing(100, 0.9, random)))
    assert found["rank"] == [n_a, n_b]
    if min(n_a, n_b) == 0:
        assert found["overlap"] is None
    else:
        assert 0 <= found["overlap"] <= 1
        angles = np.radians(found["principal_angles_degrees"])
        assert np.mean(np.cos(angles) ** 2) == pytest.approx(found["overlap"])


def test_a_span_counts_each_direction_once() -> None:
    rows = np.random.default_rng(0).standard_normal((3, D))
    assert span(np.concatenate([rows, -2 * rows])).shape == (D, 3)


def test_a_rotation_keeps_norms_and_angles() -> None:
    W = decoders()
    turned = rotated(W, np.random.default_rng(3))
    assert np.linalg.norm(turned, axis=2) == pytest.approx(np.linalg.norm(W, axis=2))
    assert cosines(turned, turned) == pytest.approx(cosines(W, W))
    assert not np.allclose(turned, W)


def test_the_summary_and_the_table_hold_every_pair_and_are_drawn() -> None:
    run, other = SeedRun.of(decoders(), VERDICTS.tolist()), shuffled(decoders())[0]
    pairs: list[Any] = [{"runs": [0, n], **compare(run, other, how(n))} for n in (1, 2)]
    assert summary(pairs)["kappa"] == pytest.approx(1.0)
    assert summary(pairs)["mmcs"]["it_only"] == pytest.approx(1.0)
    columns = table(pairs)
    assert set(columns) == set(COLUMNS)
    assert len(columns["mmcs"]) == 2 * 5
    for drawn in (columns, table([])):
        assert image_files("seeds", seeds_figure(drawn, FILE_PALETTE))
