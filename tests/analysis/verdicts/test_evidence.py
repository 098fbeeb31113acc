import numpy as np
import pytest

from pipeline.analysis.blocks import effective_number, false_discovery_rate, t_statistic
from pipeline.analysis.verdicts.evidence import Evidence, exceedance, gather_evidence
from pipeline.analysis.verdicts.intervals import resamples
from pipeline.analysis.verdicts.scaling import ScalingSums
from pipeline.analysis.verdicts.table import artefacts, call, limits_of
from pipeline.analysis.verdicts.table import verdict_table as table_of
from pipeline.config import compose
from tests.analysis.decoders.geometries import plain_geometry

SECTION = compose(["+experiment=smoke"]).latent_scaling
N_BLOCKS = 64


def sums_with_nu(
    nu_eps_L: np.ndarray,
    random: np.random.Generator,
    *,
    n_documents: int,
    spread: float = 0.2,
    noise: float = 0.3,
) -> ScalingSums:
    """IT-anchored unit decoders whose base side is exactly zero: nu varies by document about its
    mean, and each of `n_documents` documents is as active as chance makes it."""
    L = nu_eps_L.size
    square, product = np.zeros((N_BLOCKS, L)), np.zeros((N_BLOCKS, 2, 2, 2, L))
    latent = np.arange(L)
    for _ in range(n_documents):
        block = random.integers(N_BLOCKS, size=L)
        energy = random.geometric(0.5, size=L) * random.lognormal(0, 0.3, size=L)
        of_document = spread * random.standard_normal(L) * energy
        of_rows = noise * random.standard_normal(L) * np.sqrt(energy)
        np.add.at(square, (block, latent), energy)
        np.add.at(product[:, 0, 1, 0], (block, latent), nu_eps_L * energy + of_document + of_rows)
        np.add.at(product[:, 1, 1, 1], (block, latent), energy)
    gram = np.zeros((2, 2, L))
    gram[1, 1] = 1.0
    return ScalingSums(square, np.ceil(square) * 10, product, np.zeros((N_BLOCKS, 2, 2, L)), gram)


def test_a_latent_at_the_limit_is_called_exclusive_no_oftener_than_its_p_value_says() -> None:
    random = np.random.default_rng(0)
    for n_documents in (4, 8, 15, 40, 150):
        sums = sums_with_nu(np.full(10_000, 0.2), random, n_documents=n_documents)
        p = gather_evidence(sums, np.ones(10_000, dtype=int), limits_of(SECTION)).p_exclusive
        p = p[np.isfinite(p)]
        for level in (0.05, 0.01, 0.001):
            chance = 3 * np.sqrt(level / p.size)
            assert (p < level).mean() < 1.1 * level + chance, (n_documents, level)


def test_the_share_of_wrong_verdicts_stays_below_the_rate_asked_for() -> None:
    random = np.random.default_rng(1)
    truth = np.repeat([0.0, 0.2, 0.6], [150, 450, 1400])
    wrong, right = 0, 0
    for _ in range(10):
        sums = sums_with_nu(truth, random, n_documents=40, spread=0.1, noise=0.1)
        evidence = gather_evidence(sums, np.ones(truth.size, dtype=int), limits_of(SECTION))
        found = call(evidence, np.ones(truth.size, dtype=int), np.full(truth.size, 99), SECTION)
        wrong += int((found.verdict[truth > 0] == "it_only").sum())
        right += int((found.verdict[truth == 0] == "it_only").sum())
        assert not found.in_both[truth == 0].any()
    assert right > 1000
    assert wrong / (wrong + right) < SECTION.max_false_discovery_rate


def test_what_the_other_model_writes_in_another_direction_has_a_limit_of_its_own() -> None:
    random = np.random.default_rng(3)
    sums = sums_with_nu(np.zeros(20), random, n_documents=300, spread=0.02, noise=0.02)
    sums.gram_AML[0, 0] = 0.4**2  # base's decoder: shorter, and at a right angle to IT's
    sums.product_GYAML[:, 0, 0, 0] = 0.01 * random.standard_normal((N_BLOCKS, 20))
    anchor = np.ones(20, dtype=int)
    found = gather_evidence(sums, anchor, limits_of(SECTION))
    assert found.nu_turned == pytest.approx(0.4, abs=0.02)
    assert found.p_exclusive.max() < 1e-3
    stricter = gather_evidence(sums, anchor, (0.2, 0.5, 0.35))
    assert stricter.p_exclusive.min() > 0.99
    assert stricter.p_both.max() < 1e-3


def test_t_is_the_jackknife_by_hand() -> None:
    z, square = np.array([1.0, 3.0, 2.0]), np.array([1.0, 1.0, 2.0])
    residuals = [(1 - 1.5) / 0.75, (3 - 1.5) / 0.75, (2 - 3.0) / 0.5]
    expected = 6 / np.sqrt(np.square(residuals).sum())
    assert t_statistic(z[:, None], square[:, None])[0] == pytest.approx(expected)


def test_the_effective_number_counts_equal_blocks_and_ignores_faint_ones() -> None:
    square = np.array([[2.0, 1.0, 5.0, 0.0], [2.0, 1e-9, 0.0, 0.0], [2.0, 1e-9, 0.0, 0.0]])
    found = effective_number(square)
    assert found[:3] == pytest.approx([3.0, 1.0, 1.0])
    assert np.isnan(found[3])


def test_a_latent_of_one_document_is_undecided_however_clear_it_looks() -> None:
    random = np.random.default_rng(2)
    sums = sums_with_nu(np.zeros(50), random, n_documents=1, noise=0.0)
    weights = resamples(N_BLOCKS, 100, random)
    table = table_of(plain_geometry(50, it_only=50), sums, weights, SECTION)
    assert set(table["verdict"]) == {"undecided"}
    assert np.isnan(table["q_exclusive"].to_numpy()).all()
    assert (table["n_effective"].to_numpy() < 1.001).all()


def evidence_of(p_exclusive: list[float], p_above: list[list[float]]) -> Evidence:
    n = len(p_exclusive)
    p_above_C = np.array([*p_above, [1.0] * n])
    zeros = [np.zeros(n)] * 3
    return Evidence(np.full(n, 50.0), np.array(p_exclusive), p_above_C, *zeros)


def test_verdicts_go_by_the_rate_the_anchor_and_the_rows() -> None:
    evidence = evidence_of(
        [1e-6, 0.3, 0.9, 1e-6, 1e-6, np.nan], [[0.9, 0.4, 1e-6, 0.9, 0.9, np.nan]] * 2
    )
    anchor, n_active = np.array([1, 1, 1, 0, 1, 1]), np.array([99, 99, 99, 99, 19, 0])
    found = call(evidence, anchor, n_active, SECTION)
    expected = ["it_only", "undecided", "undecided", "base_only", "undecided", "dead"]
    assert found.verdict.tolist() == expected
    assert found.in_both.tolist() == [False, False, True, False, False, False]
    assert np.isnan(found.q_exclusive[4:]).all(), "too few rows are no test"


def test_artefacts_are_named_by_the_nu_that_refutes_the_norm() -> None:
    evidence = evidence_of([0.9] * 4, [[1e-9, 0.9, 1e-9, 1e-9], [0.9, 1e-9, 1e-9, 1e-9]])
    found = call(evidence, np.ones(4, dtype=int), np.full(4, 99), SECTION)
    named = artefacts(found, np.array(["it_only", "base_only", "it_only", "shared"]))
    assert named.tolist() == ["complete_shrinkage", "latent_decoupling", "both", ""]


def test_p_values_are_never_zero_and_rates_never_fall_below_them() -> None:
    p = exceedance(np.array([50.0, 0.0, np.nan]), np.arange(-49.0, 50.0))
    assert p[0] == pytest.approx(0.01)
    assert p[1] == pytest.approx(0.51)
    q = false_discovery_rate(p)
    assert np.isnan(q[2])
    assert (q[:2] >= p[:2]).all()
    assert false_discovery_rate(np.array([0.01, 0.02, 0.03, 0.5])) == pytest.approx(
        [0.04, 0.04, 0.04, 0.5]
    )
