"""Latents whose nu is small although both models have them: turned, or on other rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.analysis.decoders.geometry import decoder_geometry
from pipeline.analysis.heldout import Window
from pipeline.analysis.verdicts.intervals import resamples
from pipeline.analysis.verdicts.scaling import scaling_pass
from pipeline.analysis.verdicts.table import verdict_table
from pipeline.analysis.verdicts.twins import refute_twinned, twins
from pipeline.config import compose
from pipeline.crosscoder import Crosscoder
from tests.analysis.stores import heldout_store

SECTION = compose(["+experiment=smoke"]).latent_scaling
N_ROWS, D_MODEL = 4000, 8
TURNED, IT_ONLY, IT_SIDE, BASE_SIDE, WEAKLY_TURNED = range(5)


def planted() -> tuple[Crosscoder, torch.Tensor]:
    """A concept that base writes along axis 0 and IT along axis 1; one of IT alone along 2; one
    along 3 that each model has on rows of its own, in two latents; and an IT one along 4 of which
    base writes a tenth along 5. Decoder biases differ."""
    random = torch.Generator().manual_seed(1)
    decoder, encoder = torch.zeros(5, 2, D_MODEL), torch.zeros(2, D_MODEL, 5)
    decoder[TURNED, 0, 0] = decoder[TURNED, 1, 1] = 1.0
    decoder[IT_ONLY, 1, 2] = decoder[IT_SIDE, 1, 3] = decoder[BASE_SIDE, 0, 3] = 1.0
    decoder[WEAKLY_TURNED, 1, 4], decoder[WEAKLY_TURNED, 0, 5] = 1.0, 0.1
    read = {TURNED: (1, 1), IT_ONLY: (1, 2), IT_SIDE: (1, 3), BASE_SIDE: (0, 3)}
    for latent, (model, axis) in {**read, WEAKLY_TURNED: (1, 4)}.items():
        encoder[model, axis, latent] = 1.0
    on = torch.rand(N_ROWS, 5, generator=random) < 0.1
    f = on * (1 + torch.rand(N_ROWS, 5, generator=random))
    bias = 0.2 * torch.randn(2, D_MODEL, generator=random)
    noise = 0.05 * torch.randn(N_ROWS, 2, D_MODEL, generator=random)
    x = torch.einsum("bl,lmd->bmd", f, decoder) + noise + bias
    crosscoder = Crosscoder.from_weights(
        kind="l1",
        W_enc=encoder,
        W_dec=decoder,
        b_enc=-torch.einsum("md,mdl->l", bias, encoder),
        b_dec=bias,
        threshold=torch.full((5,), 0.5),
    )
    return crosscoder, x


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    crosscoder, x = planted()
    with heldout_store(tmp_path_factory.mktemp("rows") / "store", x) as reader:
        random = torch.Generator().manual_seed(0)
        sums = scaling_pass(crosscoder, Window(reader, 10**6, 700), n_blocks=16, random=random)
    geometry = decoder_geometry(crosscoder.W_dec.detach().numpy())
    weights = resamples(16, 200, np.random.default_rng(0))
    found = verdict_table(geometry, sums, weights, SECTION)
    return refute_twinned(found, crosscoder.W_dec.detach(), SECTION)


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_other_models_concept_in_another_direction_is_in_both(table: pd.DataFrame) -> None:
    assert abs(table.loc[TURNED, "nu_eps"]) < 0.05
    assert abs(table.loc[TURNED, "nu_r"]) < 0.05
    assert table.loc[TURNED, "nu_turned"] == pytest.approx(1.0, abs=0.02)
    assert table.loc[TURNED, "in_both"]


def test_a_concept_on_rows_of_its_own_in_each_model_has_moved(table: pd.DataFrame) -> None:
    for latent in (IT_SIDE, BASE_SIDE):
        assert abs(table.loc[latent, "nu_eps"]) < 0.05
        assert table.loc[latent, "q_exclusive"] < 0.05
        assert table.loc[latent, "twin"] == IT_SIDE + BASE_SIDE - latent
        assert table.loc[latent, "verdict"] == "moved"
        assert table.loc[latent, "in_both"]
        assert table.loc[latent, "artefact"] == "latent_decoupling"


def test_what_one_model_alone_has_stays_exclusive(table: pd.DataFrame) -> None:
    for latent, turned in ((IT_ONLY, 0.0), (WEAKLY_TURNED, 0.1)):
        assert table.loc[latent, "nu_turned"] == pytest.approx(turned, abs=0.02)
        assert table.loc[latent, "twin"] == -1
        assert table.loc[latent, "verdict"] == "it_only"


@pytest.mark.parametrize(
    ("cosine", "n_active", "other_norm", "is_twin"),
    [
        (0.8, 100, 1.0, True),
        (0.6, 100, 1.0, False),
        (0.8, 5, 1.0, False),  # too seldom to be told
        (0.8, 900, 1.0, True),
        (0.8, 1100, 1.0, False),  # another rate altogether
        (0.8, 100, 0.1, False),  # hardly writes in the other model itself
    ],
)
def test_a_twin_points_the_same_way_about_as_often(
    cosine: float, n_active: int, other_norm: float, is_twin: bool
) -> None:
    W = torch.zeros(2, 2, 4)
    W[0, 1, 0] = 1.0
    W[1, 0, :2] = other_norm * torch.tensor([cosine, (1 - cosine**2) ** 0.5])
    W[1, 1, 3] = 1.0
    active = torch.tensor([100.0, float(n_active)])
    found = twins(W, torch.tensor([1]), torch.tensor([0]), active, SECTION)
    assert found.tolist() == [1 if is_twin else -1]
