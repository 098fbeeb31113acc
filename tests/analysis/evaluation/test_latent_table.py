from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipeline.analysis.decoders.geometry import decoder_geometry
from pipeline.analysis.evaluation.result import LatentColumns
from pipeline.analysis.evaluation.rows_pass import heldout_pass
from pipeline.analysis.evaluation.table import DIGITS, latent_table
from pipeline.analysis.heldout import Window
from pipeline.columns import csv_bytes
from pipeline.results import descriptions
from tests.analysis.stores import heldout_store, random_crosscoder


def table_of(path: Path) -> tuple[pd.DataFrame, torch.Tensor]:
    crosscoder = random_crosscoder()
    with torch.no_grad():
        crosscoder.W_dec[3, 0] = 0.0
        crosscoder.b_enc_L[5] = -1e6
    rows = torch.randn(120, 2, 5, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    with heldout_store(path / "store", rows) as reader:
        sums = heldout_pass(crosscoder, Window(reader, 10**6, 50), n_sequences=12)
    geometry = decoder_geometry(crosscoder.W_dec.detach().numpy())
    return latent_table(geometry, sums), crosscoder.encode(crosscoder.normalise(rows)) > 0


def test_rates_are_shares_of_each_groups_tokens(tmp_path: Path) -> None:
    table, fires = table_of(tmp_path)
    at = np.arange(len(fires))
    groups = {"all": at >= 0, "chat": at // 10 % 2 == 1, "template": at % 3 == 0}
    for name, chosen in groups.items():
        expected = fires[torch.from_numpy(chosen)].float().mean(dim=0).numpy()
        np.testing.assert_allclose(table[f"rate_{name}"], expected, rtol=1e-6)


def test_bins_name_dead_and_exclusive_latents(tmp_path: Path) -> None:
    table, _ = table_of(tmp_path)
    assert table.loc[3, "bin"] == "it_only"
    assert table.loc[5, "bin"] == "dead"


def test_the_csv_reads_back_with_documented_columns(tmp_path: Path) -> None:
    table, _ = table_of(tmp_path)
    (tmp_path / "latents.csv").write_bytes(csv_bytes(table, digits=DIGITS))
    again = pd.read_csv(tmp_path / "latents.csv")
    assert set(again) == {*descriptions(LatentColumns), "rate_pile", "rate_chat"}
    np.testing.assert_allclose(again["relative_norm"], table["relative_norm"], rtol=1e-6)
