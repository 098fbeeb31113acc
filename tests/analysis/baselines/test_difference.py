from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from pipeline.analysis.baselines.difference import (
    ESTIMATORS,
    CellMeans,
    DifferenceSums,
    cell_means,
    difference_pass,
    difference_table,
    headline,
    mean_table,
)
from pipeline.analysis.baselines.patches import BaselinePatches
from pipeline.analysis.baselines.position_lens import mean_lens
from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.patches import Batch, LatentPatches, Streams
from pipeline.analysis.groups import Cells
from pipeline.analysis.heldout import Window
from pipeline.analysis.losses import Head
from pipeline.crosscoder import Crosscoder
from tests.analysis.stores import heldout_store, random_crosscoder

CELLS = Cells(("pile", "chat"))

D, N_ROWS = 5, 120


def rows() -> torch.Tensor:
    random = torch.Generator().manual_seed(2)
    x = torch.randn(N_ROWS, 2, D, generator=random)
    x[:, 1] += torch.arange(D) * 0.5
    return x.bfloat16().float()


def cell_numbers() -> torch.Tensor:
    """As `heldout_store` labels them: odd sequences are chats, every third token template."""
    at = torch.arange(N_ROWS)
    return (at // 10 % 2) * 2 + (at % 3 == 0).long()


def difference_sae() -> Crosscoder:
    random = torch.Generator().manual_seed(4)
    return Crosscoder.from_weights(
        kind="batch_topk",
        W_enc=torch.randn(1, D, 7, generator=random),
        W_dec=torch.randn(7, 1, D, generator=random) * 0.3,
        b_enc=torch.zeros(7),
        b_dec=torch.full((1, D), 0.1),
        activation_scale=torch.tensor([0.8]),
        threshold=torch.full((7,), 0.2),
    )


def measured(path: Path) -> tuple[CellMeans, DifferenceSums]:
    with heldout_store(path / "store", rows()) as reader:
        device = torch.device("cpu")
        window = Window(reader, 10**6, 32)
        means = cell_means(window, device)
        sums = difference_pass(random_crosscoder(), difference_sae(), means, window, n_sequences=12)
    return means, sums


def test_models_that_are_equal_at_the_hook_point_do_not_differ(tmp_path: Path) -> None:
    x = rows()
    alike = torch.stack([x[:, 0], x[:, 0]], dim=1)
    device = torch.device("cpu")
    for name, stored, differ in (("alike", alike, False), ("different", x, True)):
        with heldout_store(tmp_path / name, stored) as reader:
            means = cell_means(Window(reader, 10**6, 32), device)
        assert means.differ is differ


def test_means_per_cell_equal_the_direct_ones(tmp_path: Path) -> None:
    means, _ = measured(tmp_path)
    x, cell = rows().double(), cell_numbers()
    for c in range(CELLS.n):
        expected = (x[cell == c, 1] - x[cell == c, 0]).mean(dim=0)
        np.testing.assert_allclose(means.difference([c]), expected.numpy(), rtol=1e-10)
    delta = x[:, 1] - x[:, 0]
    np.testing.assert_allclose(means.difference(CELLS.groups["all"]), delta.mean(dim=0).numpy())
    table = mean_table(means)
    mean = delta.mean(dim=0)
    share = float(N_ROWS * mean @ mean / delta.square().sum())
    assert table["all"]["share"] == pytest.approx(share)
    assert table["all"]["norm_mean_difference"] == pytest.approx(float(mean.norm()))
    assert table["all"]["cosine_with_all"] == pytest.approx(1.0)
    assert table["pile"]["n_tokens"] + table["chat"]["n_tokens"] == N_ROWS


def test_a_group_without_tokens_has_no_share_and_no_cosine() -> None:
    nothing = CellMeans(np.zeros(CELLS.n), np.zeros((CELLS.n, 2, D)), np.zeros(CELLS.n), CELLS)
    figures = mean_table(nothing)["template"]
    assert figures["n_tokens"] == 0
    assert figures["share"] is None
    assert figures["cosine_means"] is None


def test_errors_of_every_estimator_equal_the_direct_ones(tmp_path: Path) -> None:
    means, sums = measured(tmp_path)
    x, cell = rows(), cell_numbers()
    delta = x[:, 1] - x[:, 0]
    crosscoder, sae = random_crosscoder(), difference_sae()
    rebuilt = crosscoder.reconstruct(x).detach()
    of_cell = torch.stack(
        [torch.from_numpy(means.difference([int(c)])).float() for c in cell.tolist()]
    )
    estimates = {
        "zero": torch.zeros_like(delta),
        "mean": delta.mean(dim=0).expand_as(delta),
        "cell_mean": of_cell,
        "crosscoder": rebuilt[:, 1] - rebuilt[:, 0],
        "diff_sae": sae.reconstruct(delta[:, None])[:, 0].detach(),
    }
    for k, name in enumerate(ESTIMATORS):
        expected = float((delta - estimates[name]).square().sum())
        assert sums.error_UCK[..., k].sum() == pytest.approx(expected, rel=1e-5), name
    active = (sae.encode(sae.normalise(delta[:, None])) > 0).sum()
    assert sums.n_active_UCK[..., 1].sum() == int(active)
    assert sums.n_UC.sum() == N_ROWS


def test_a_mean_explains_nothing_beyond_itself_and_its_own_share_of_the_whole(
    tmp_path: Path,
) -> None:
    means, sums = measured(tmp_path)
    bootstrap = Bootstrap(
        len(sums.n_UC), n_resamples=100, confidence=0.9, random=np.random.default_rng(0)
    )
    table = cast(Any, difference_table(sums, bootstrap))
    share = mean_table(means)["all"]["share"]
    assert table["all"]["mean"]["explained"]["value"] == pytest.approx(share, rel=1e-5)
    assert "beyond_mean" not in table["all"]["mean"]
    assert table["all"]["cell_mean"]["beyond_mean"]["value"] >= 0
    short = headline(table, None)
    assert short["explained_mean"] == pytest.approx(share, abs=1e-6)
    assert not any(name.startswith("kl_removed") for name in short)


def test_the_lens_of_a_mean_names_the_tokens_it_writes() -> None:
    """The mean difference points along the first coordinate, and the head is the identity."""
    sums = np.zeros((CELLS.n, 2, D))
    sums[:, 1, 0] = 3.0
    means = CellMeans(np.ones(CELLS.n), sums, np.full(CELLS.n, 9.0), CELLS)
    head = Head(lambda hidden: hidden, D, room_bytes=1)
    lens = mean_lens(means, head, str, n_tokens=2, n_vocab=D)
    assert set(lens) == set(CELLS.groups)
    assert lens["chat"]["promoted"][0] == ("0", pytest.approx(D**0.5, abs=1e-4))
    assert lens["chat"]["promoted"][1][1] == 0.0


def test_baselines_move_base_by_their_estimate_of_the_difference() -> None:
    random = torch.Generator().manual_seed(9)
    streams = Streams(*torch.randn(2, 3, 4, D, generator=random))
    cells = torch.arange(12).view(3, 4) % CELLS.n
    batch = Batch(cells, cells, cells == 0, cells)
    mean_CD = torch.randn(CELLS.n, D, generator=random)
    sae, crosscoder = difference_sae(), random_crosscoder()
    patches = dict(BaselinePatches(crosscoder, sae, mean_CD[0], mean_CD)(streams, batch))
    assert set(patches) == {"mean", "cell_mean", "diff_sae", "none", "full"}
    assert torch.equal(patches["none"], streams.base)
    assert torch.allclose(patches["mean"], streams.base + mean_CD[0])
    assert torch.allclose(patches["cell_mean"][1, 2], streams.base[1, 2] + mean_CD[cells[1, 2]])
    delta = streams.it - streams.base
    rebuilt = sae.reconstruct(delta.view(12, 1, D)).view(3, 4, D)
    assert torch.allclose(patches["diff_sae"], streams.base + rebuilt, atol=1e-6)
    theirs = dict(LatentPatches(crosscoder, {})(streams, batch))
    assert torch.equal(patches["full"], theirs["full"])
