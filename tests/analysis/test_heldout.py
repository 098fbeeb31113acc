from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.evaluation.rows_pass import (
    SERIES,
    HeldoutSums,
    heldout_pass,
    with_difference,
)
from pipeline.analysis.evaluation.table import reconstruction_table
from pipeline.analysis.heldout import Window, spread_blocks
from pipeline.crosscoder import Crosscoder
from tests.analysis.stores import heldout_store, random_crosscoder

N_ROWS, D_MODEL = 200, 5


def offset_rows() -> torch.Tensor:
    """Rows with a mean that is large against their spread, rounded to bfloat16."""
    random = torch.Generator().manual_seed(3)
    rows = torch.randn(N_ROWS, 2, D_MODEL, generator=random) + torch.arange(D_MODEL) * 3.0
    return rows.bfloat16().float()


def swept(path: Path, crosscoder: Crosscoder, rows: torch.Tensor) -> HeldoutSums:
    with heldout_store(path / "store", rows) as reader:
        return heldout_pass(crosscoder, Window(reader, 10**6, 37), n_sequences=20)


def values(sums: HeldoutSums, group: str = "all") -> dict[str, float]:
    bootstrap = Bootstrap(
        sums.n_UC.shape[0], n_resamples=100, confidence=0.9, random=np.random.default_rng(0)
    )
    table = reconstruction_table(sums, bootstrap)[group]
    return {k: v["value"] for k, v in table.items() if isinstance(v, dict)}


@given(st.integers(1, 500), st.integers(1, 600), st.integers(1, 64))
@example(146, 145, 3)
def test_blocks_are_disjoint_in_order_and_hold_the_asked_rows(
    n_total: int, n_rows: int, block: int
) -> None:
    blocks = spread_blocks(n_total, n_rows, block)
    edges = [edge for pair in blocks for edge in pair]
    assert edges == sorted(edges)
    assert edges[-1] <= n_total
    assert sum(stop - start for start, stop in blocks) == min(n_rows, n_total)
    assert all(0 < stop - start <= block for start, stop in blocks)


def test_explained_variance_is_the_ratio_of_sums_about_the_global_mean(tmp_path: Path) -> None:
    crosscoder, rows = random_crosscoder(), offset_rows()
    found = values(swept(tmp_path, crosscoder, rows))
    x = with_difference(rows).double()
    x_hat = with_difference(crosscoder.reconstruct(rows).detach()).double()
    error = (x - x_hat).square().sum(dim=(0, 2))
    total = (x - x.mean(dim=0)).square().sum(dim=(0, 2))
    for k, series in enumerate(SERIES):
        assert found[f"fve_{series}"] == pytest.approx(float(1 - error[k] / total[k]), rel=1e-5)


def test_a_group_is_held_against_the_global_mean_not_its_own(tmp_path: Path) -> None:
    crosscoder, rows = random_crosscoder(), offset_rows()
    rows[10::20] += 8.0  # the chats of odd sequences have another mean
    rows = rows.bfloat16().float()
    found = values(swept(tmp_path, crosscoder, rows), "chat")
    chat = (torch.arange(N_ROWS) // 10) % 2 == 1
    x, x_hat = rows[chat, 1].double(), crosscoder.reconstruct(rows)[chat, 1].detach().double()
    total = (x - rows[:, 1].double().mean(dim=0)).square().sum()
    assert found["fve_it"] == pytest.approx(float(1 - (x - x_hat).square().sum() / total), rel=1e-5)


def test_a_constant_error_lowers_explained_variance(tmp_path: Path) -> None:
    crosscoder, rows = random_crosscoder(), offset_rows()
    before = values(swept(tmp_path / "before", crosscoder, rows))
    with torch.no_grad():
        crosscoder.b_dec_P.add_(5.0)
    after = values(swept(tmp_path / "after", crosscoder, rows))
    for series in SERIES[:2]:
        assert after[f"fve_{series}"] < before[f"fve_{series}"] - 0.5


def test_a_perfect_reconstruction_explains_everything(tmp_path: Path) -> None:
    identity = torch.eye(2 * D_MODEL).reshape(2, D_MODEL, 2 * D_MODEL)
    crosscoder = Crosscoder.from_weights(
        kind="l1",
        W_enc=identity,
        W_dec=identity.permute(2, 0, 1).contiguous(),
        b_enc=torch.full((2 * D_MODEL,), 100.0),
        b_dec=torch.full((2, D_MODEL), -100.0),
    )
    found = values(swept(tmp_path, crosscoder, offset_rows()))
    figures = [name for name in found if name.startswith(("fve", "reference"))]
    assert [found[name] for name in figures] == pytest.approx([1.0] * len(figures), abs=1e-6)


def test_l0_and_firing_agree_with_encoding_everything_at_once(tmp_path: Path) -> None:
    crosscoder, rows = random_crosscoder(), offset_rows()
    with torch.no_grad():
        crosscoder.b_enc_L[4] = -1e6
    sums = swept(tmp_path, crosscoder, rows)
    f = crosscoder.encode(crosscoder.normalise(rows)).detach()
    assert values(sums)["l0"] == pytest.approx(float((f > 0).sum(dim=1).float().mean()))
    assert sums.n_fired_CL.sum(axis=0).tolist() == (f > 0).sum(dim=0).tolist()
    assert sums.sum_fired_CL.sum(axis=0) == pytest.approx(f.sum(dim=0).numpy(), rel=1e-5)
    assert sums.max_L == pytest.approx(f.amax(dim=0).numpy())
    assert sums.n_fired_CL.sum(axis=0)[4] == 0


def test_a_pass_sees_the_rows_of_its_blocks_with_the_columns_asked_for(tmp_path: Path) -> None:
    rows = offset_rows()
    with heldout_store(tmp_path / "store", rows) as reader:
        window = Window(reader, 90, 37)
        for seen in window.batches(torch.device("cpu"), "rows", "source", "token_class"):
            at = np.arange(N_ROWS)[seen.place]
            assert torch.equal(seen.x, rows[seen.place])
            assert seen.columns["source"].tolist() == (at // 10 % 2).tolist()
            assert seen.cells.tolist() == (2 * (at // 10 % 2) + (at % 3 == 0)).tolist()


def test_evaluating_leaves_the_crosscoder_untouched(tmp_path: Path) -> None:
    crosscoder = random_crosscoder()
    before = {name: value.clone() for name, value in crosscoder.state_dict().items()}
    swept(tmp_path, crosscoder, offset_rows())
    assert all(torch.equal(before[k], v) for k, v in crosscoder.state_dict().items())
