from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.analysis.decoders.geometry import decoder_geometry
from pipeline.analysis.heldout import Window
from pipeline.analysis.verdicts.intervals import resamples
from pipeline.analysis.verdicts.scaling import ScalingPass, scaling, scaling_pass
from pipeline.analysis.verdicts.table import summary, verdict_table
from pipeline.config import compose
from pipeline.crosscoder import Crosscoder
from tests.analysis.stores import heldout_store, random_crosscoder

SECTION = compose(["+experiment=smoke"]).latent_scaling


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
            Window(reader, 10**6, 700),
            n_blocks=16,
            random=torch.Generator().manual_seed(0),
        )
    weights = resamples(16, 200, np.random.default_rng(0))
    geometry = decoder_geometry(crosscoder.W_dec.detach().numpy())
    table = verdict_table(geometry, sums, weights, SECTION)
    assert table["verdict"].tolist() == [
        *("undecided", "it_only", "base_only", "undecided", "dead"),
    ]
    assert table["in_both"].tolist() == [True, False, False, True, False]
    assert table["norm_bin"].tolist() == ["shared", "it_only", "base_only", "it_only", "dead"]
    assert table["artefact"].tolist() == ["", "", "", "complete_shrinkage", ""]
    assert table.loc[3, "q_present"] < 0.5 < table.loc[1, "p_present"]
    assert table.loc[1, "q_exclusive"] < 0.001 < 0.9 < table.loc[3, "q_exclusive"]
    anchored = (table["anchor"].to_numpy() == "it").astype(int)
    both = table[["nu_eps_base", "nu_eps_it"]].to_numpy()
    np.testing.assert_array_equal(both[np.arange(5), anchored], table["nu_eps"])
    found = summary(table, SECTION, window_tokens=4000)
    assert found["of_these_refuted"] == 1
    assert found["minder_rule"]["it_only"] == {"by_delta": 2, "of_these_specific": 1}


def test_no_live_latent_is_a_table_of_dead_ones(tmp_path: Path) -> None:
    crosscoder, x = planted(n_rows=300)
    with torch.no_grad():
        crosscoder.threshold_L.fill_(1e9)
    with heldout_store(tmp_path / "store", x) as reader:
        sums = scaling_pass(
            crosscoder,
            Window(reader, 300, 128),
            n_blocks=8,
            random=torch.Generator().manual_seed(0),
        )
    geometry = decoder_geometry(crosscoder.W_dec.detach().numpy())
    weights = resamples(8, 100, np.random.default_rng(0))
    table = verdict_table(geometry, sums, weights, SECTION)
    assert set(table["verdict"]) == {"dead"}
    figures = table[["nu_eps", "q_exclusive", "q_both", "p_present"]]
    assert np.isnan(figures.to_numpy(dtype=float)).all()
    found = summary(table, SECTION, window_tokens=300)
    assert found["dead"] == 5
    assert found["largest_q_exclusive"] is None


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.numel = max(self.numel, found.numel())
        return found


def test_nothing_grows_with_rows_times_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.analysis.verdicts.scaling.MAX_ELEMENTS", 2**16)
    crosscoder = random_crosscoder(n_latents=4096)
    running = ScalingPass(crosscoder, n_blocks=4, random=torch.Generator().manual_seed(0))
    with LargestTensor() as largest, torch.no_grad():
        running.add(torch.randn(512, 2, 5), torch.arange(512) % 4)
    assert 2**15 < largest.numel <= 2**16
    assert float(torch.from_numpy(running.finish().n_active_GL).sum()) > 0


def test_splitting_a_batch_leaves_the_sums_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    crosscoder = random_crosscoder().double().requires_grad_(False)
    x = torch.randn(100, 2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for limit in (2**26, 12 * 7):
        monkeypatch.setattr("pipeline.analysis.verdicts.scaling.MAX_ELEMENTS", limit)
        running = ScalingPass(crosscoder, n_blocks=3, random=torch.Generator().manual_seed(0))
        running.add(x, torch.arange(100) % 3)
        found.append(running.finish())
    np.testing.assert_allclose(found[0].product_GYAML, found[1].product_GYAML, rtol=1e-12)
    np.testing.assert_array_equal(found[0].n_active_GL, found[1].n_active_GL)
