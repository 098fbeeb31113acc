"""Latents that both models have: alike, turned, stronger or weaker."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.analysis.heldout import Window
from pipeline.analysis.verdicts.kinds import Differences, differences, name_kinds
from pipeline.analysis.verdicts.scaling import scaling_pass
from pipeline.analysis.verdicts.written import Products, written
from pipeline.config import compose
from tests.analysis.stores import heldout_store, random_crosscoder

SECTION = compose(["+experiment=smoke"]).latent_scaling
N_BLOCKS, D_MODEL = 32, 16


def products_of(
    cosine_L: np.ndarray, ratio_L: np.ndarray, noise: float, random: np.random.Generator
) -> Products:
    """Latents whose base vector is 1 long and whose IT vector is `ratio` long at angle `cosine`,
    as blocks of unequal weight estimate them."""
    u_LMD = np.zeros((cosine_L.size, 2, D_MODEL))
    u_LMD[:, 0, 0] = 1.0
    u_LMD[:, 1, 0], u_LMD[:, 1, 1] = ratio_L * cosine_L, ratio_L * np.sqrt(1 - cosine_L**2)
    square_GL = random.lognormal(0, 0.5, size=(N_BLOCKS, cosine_L.size))
    spread = noise * random.standard_normal((N_BLOCKS, *u_LMD.shape))
    v_GLMD = square_GL[:, :, None, None] * u_LMD + np.sqrt(square_GL)[:, :, None, None] * spread
    half_HLMD = np.stack([v_GLMD[0::2].sum(axis=0), v_GLMD[1::2].sum(axis=0)])
    other_GLMD = half_HLMD[1 - np.arange(N_BLOCKS) % 2]
    return Products(square_GL, np.einsum("glmd,glnd->glmn", v_GLMD, other_GLMD))


def judged(products: Products, **columns: object) -> pd.DataFrame:
    n = products.square_GL.shape[1]
    found = differences(products, np.full(n, float(N_BLOCKS)), SECTION)
    table = pd.DataFrame({"verdict": ["undecided"] * n, "p_both": 1e-9, "q_both": 1e-9})
    return name_kinds(table.assign(**columns), found, SECTION)


@pytest.mark.parametrize(
    ("cosine", "ratio", "kind"),
    [
        (1.0, 1.0, "shared"),
        (0.95, 1.2, "shared"),
        (0.6, 1.0, "turned"),
        (0.2, 1.0, "turned"),
        (0.2, 3.0, "turned"),  # stronger too: the first of the two names it
        (1.0, 2.0, "stronger"),
        (1.0, 0.5, "weaker"),
        (1.0, 0.35, "weaker"),
        (0.8, 1.0, "undecided"),  # at the limit the data cannot say
        (1.0, 1.5, "undecided"),
    ],
)
def test_a_latent_of_both_models_is_named_by_how_they_differ(
    cosine: float, ratio: float, kind: str
) -> None:
    one = np.ones(40)
    products = products_of(cosine * one, ratio * one, 0.1, np.random.default_rng(0))
    table = judged(products)
    share = 0.75 if kind == "undecided" else 0.95
    assert (table["verdict"].to_numpy() == kind).mean() >= share
    assert table["direction_cosine"].to_numpy().mean() == pytest.approx(cosine, abs=0.02)
    assert table["strength_ratio"].to_numpy().mean() == pytest.approx(ratio, rel=0.05)
    assert table["direction_cosine_error"].to_numpy().max() < 0.1


@pytest.mark.parametrize(
    ("cosine", "ratio", "claims"),
    [
        (SECTION.min_shared_cosine, 1.0, ("turned", "shared")),
        (1.0, SECTION.max_shared_strength_ratio, ("stronger", "shared")),
        (1.0, 1 / SECTION.max_shared_strength_ratio, ("weaker", "shared")),
    ],
)
def test_at_its_limit_a_verdict_is_given_no_oftener_than_p_says(
    cosine: float, ratio: float, claims: tuple[str, ...]
) -> None:
    n = 4000
    products = products_of(np.full(n, cosine), np.full(n, ratio), 0.6, np.random.default_rng(1))
    found = differences(products, np.full(n, 26.0), SECTION)
    for claim in claims:
        for level in (0.05, 0.01):
            chance = 3 * np.sqrt(level / n)
            assert (found.p[claim] < level).mean() < 1.2 * level + chance, (claim, level)


def test_what_may_be_exclusive_or_has_moved_gets_no_kind() -> None:
    products = products_of(np.ones(3), np.full(3, 9.0), 0.1, np.random.default_rng(2))
    table = judged(
        products,
        verdict=["it_only", "moved", "undecided"],
        p_both=[0.9, 0.9, 0.6],
        q_both=[1.0, 1.0, 0.9],
    )
    assert table["verdict"].tolist() == ["it_only", "moved", "undecided"]
    assert table["p_stronger"].tolist() == [0.9, 0.9, 0.6]


@torch.inference_mode()
def test_products_are_those_of_the_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.analysis.verdicts.written.MAX_ELEMENTS", 300)
    crosscoder, G = random_crosscoder(12), 8
    x = torch.randn(400, 2, 5, generator=torch.Generator().manual_seed(3)).bfloat16().float()
    by_rows = np.arange(12) % 3 == 0
    n_rows, batch = 10**6, 90
    with heldout_store(tmp_path / "store", x) as reader:
        random = torch.Generator().manual_seed(0)
        sums = scaling_pass(crosscoder, Window(reader, n_rows, batch), n_blocks=G, random=random)
        window = Window(reader, n_rows, batch)
        found = written(crosscoder, window, sums, by_rows).without_each_block()
    x = crosscoder.normalise(x).double()
    f = crosscoder.encode(x.float()).double()
    block = torch.arange(400) // 10 % G
    whole = x - crosscoder.b_dec
    put_back = torch.einsum("bl,lmd->blmd", f, crosscoder.W_dec.double())
    error = (x - crosscoder.decode(f.float()))[:, None] + put_back
    y = torch.where(torch.from_numpy(by_rows)[None, :, None, None], whole[:, None], error)
    for left_out in (None, 0, 5):
        kept = [block % 2 == half for half in range(2)]
        kept = [mine & (block != (-1 if left_out is None else left_out)) for mine in kept]
        u = [
            torch.einsum("bl,blmd->lmd", f[mine], y[mine]) / f[mine].square().sum(0)[:, None, None]
            for mine in kept
        ]
        expected = torch.einsum("lmd,lnd->lmn", *u).numpy()
        at = 0 if left_out is None else 1 + left_out
        np.testing.assert_allclose(found[at], expected, rtol=1e-4, atol=1e-5)


def test_a_half_with_one_block_says_nothing_and_warns_of_nothing() -> None:
    products = products_of(np.ones(1), np.ones(1), 0.1, np.random.default_rng(4))
    products.square_GL[2::2] = 0.0
    products.product_GLMM[2::2] = 0.0
    found: Differences = differences(products, np.ones(1), SECTION)
    assert np.isnan([found.p["shared"], found.p["turned"], found.cosine_error]).all()
