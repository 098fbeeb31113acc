from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.analysis.geometry import decoder_geometry
from pipeline.analysis.scaling import ScalingPass, scaling, scaling_pass
from pipeline.analysis.verdicts import (
    Rule,
    artefacts,
    exceedance,
    false_discovery_rate,
    verdict_table,
    verdicts,
)
from pipeline.crosscoder import Crosscoder
from tests.analysis.stores import heldout_store, random_crosscoder

RULE = Rule(max_eps=0.2, max_r=0.5, min_active=20)


def direct_beta(crosscoder: Crosscoder, x: Tensor, target: str, a: int, m: int, j: int) -> float:
    """The definition: least squares of f_j d_j in y, every row and coordinate stacked."""
    f = crosscoder.encode(x)
    x_hat = crosscoder.decode(f)
    put_back = f[:, j : j + 1] * crosscoder.W_dec[j, m]
    y = x_hat[:, m] if target == "r" else x[:, m] - x_hat[:, m] + put_back
    regressor = (f[:, j : j + 1] * crosscoder.W_dec[j, a]).flatten()
    return float(regressor @ y.flatten() / regressor.square().sum())


def test_one_pass_equals_the_definition_to_1e_10() -> None:
    crosscoder = random_crosscoder(n_latents=9).double().requires_grad_(False)
    random = torch.Generator().manual_seed(5)
    x = torch.randn(150, 2, 5, generator=random, dtype=torch.float64) * 2
    running = ScalingPass(crosscoder, n_blocks=4, random=random)
    for part in torch.arange(150).split(40):
        running.add(x[part], part % 4)
    beta = scaling(running.finish()).beta_YAML
    for y, target in enumerate(("eps", "r")):
        for a in range(2):
            for m in range(2):
                for j in range(9):
                    expected = direct_beta(crosscoder, x, target, a, m, j)
                    assert beta[y, a, m, j] == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_the_anchors_own_put_back_gives_nu_of_one_where_models_are_equal() -> None:
    crosscoder = random_crosscoder(n_latents=9).double().requires_grad_(False)
    crosscoder.W_dec[:, 1] = crosscoder.W_dec[:, 0]
    crosscoder.b_dec[1] = crosscoder.b_dec[0]
    random = torch.Generator().manual_seed(0)
    row = torch.randn(200, 1, 5, generator=random, dtype=torch.float64)
    running = ScalingPass(crosscoder, n_blocks=2, random=random)
    running.add(row.expand(-1, 2, -1), torch.arange(200) % 2)
    nu = scaling(running.finish()).nu
    np.testing.assert_allclose(nu[np.isfinite(nu)], 1.0)


def planted(n_rows: int = 4000) -> tuple[Crosscoder, Tensor]:
    """Four orthogonal directions: 0 shared, 1 IT-only, 2 base-only, 3 shared in the data but with
    its base decoder shrunk to zero (Complete Shrinkage); latent 4 never fires."""
    d_model, n = 8, 5
    truth, learned = torch.zeros(n, 2, d_model), torch.zeros(n, 2, d_model)
    for j in range(n):
        truth[j, :, j] = 1.0
    truth[1, 0] = truth[2, 1] = 0.0
    learned.copy_(truth)
    learned[3, 0] = 0.0
    random = torch.Generator().manual_seed(1)
    on = torch.rand(n_rows, n, generator=random) < 0.1
    on[:, 4] = False
    f = on * (1 + torch.rand(n_rows, n, generator=random))
    noise = 0.05 * torch.randn(n_rows, 2, d_model, generator=random)
    x = torch.einsum("bl,lmd->bmd", f, truth) + noise
    encoder = torch.zeros(2, d_model, n)
    for j in range(n):
        encoder[1 if j != 2 else 0, j, j] = 1.0
    crosscoder = Crosscoder.from_weights(
        kind="l1",
        W_enc=encoder,
        W_dec=learned,
        b_enc=torch.zeros(n),
        b_dec=torch.zeros(2, d_model),
        threshold=torch.full((n,), 0.5),
    )
    return crosscoder, x


def test_planted_latents_get_their_verdicts(tmp_path: Path) -> None:
    crosscoder, x = planted()
    with heldout_store(tmp_path / "store", x) as reader:
        sums = scaling_pass(
            crosscoder,
            reader,
            n_rows=10**6,
            batch_rows=700,
            n_blocks=16,
            random=torch.Generator().manual_seed(0),
        )
    weights = np.random.default_rng(0).multinomial(16, np.full(16, 1 / 16), size=200).astype(float)
    geometry = decoder_geometry(crosscoder.W_dec.detach().numpy())
    table = verdict_table(geometry, sums, weights, rule=RULE, confidence=0.95)
    assert table["verdict"].tolist() == ["shared", "it_only", "base_only", "shared", "dead"]
    assert table["norm_bin"].tolist() == ["shared", "it_only", "base_only", "it_only", "dead"]
    assert table["artefact"].tolist() == ["", "", "", "complete_shrinkage", ""]
    assert table.loc[3, "q_present"] < 0.5 < table.loc[1, "p_present"]


def test_a_verdict_needs_the_whole_interval_on_one_side_and_enough_rows() -> None:
    low = np.array([[0.0, 0.1, 0.3, 0.0, 0.0, np.nan], [0.0, 0.1, 0.1, 0.0, 0.6, np.nan]])
    high = np.array([[0.1, 0.3, 0.9, 0.1, 0.1, np.nan], [0.1, 0.2, 0.9, 0.1, 0.9, np.nan]])
    anchor = np.array([1, 1, 1, 0, 0, 1])
    found = verdicts(low, high, anchor, np.array([99, 99, 99, 99, 99, 99]), RULE)
    assert found.tolist() == ["it_only", "undecided", "shared", "base_only", "shared", "undecided"]
    rare = verdicts(low, high, anchor, np.array([19, 99, 0, 99, 99, 99]), RULE)
    assert rare.tolist()[:3] == ["undecided", "undecided", "dead"]


def test_artefacts_are_named_by_the_nu_that_refutes_the_norm() -> None:
    low = np.array([[0.5, 0.0, 0.5, 0.5], [0.0, 0.9, 0.9, 0.9]])
    verdict = np.array(["shared"] * 4)
    norm_bin = np.array(["it_only", "base_only", "it_only", "shared"])
    found = artefacts(verdict, norm_bin, low, RULE)
    assert found.tolist() == ["complete_shrinkage", "latent_decoupling", "both", ""]


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
