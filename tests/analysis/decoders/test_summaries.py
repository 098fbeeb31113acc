import csv
import io
from dataclasses import replace
from typing import Any, cast

import numpy as np

from pipeline.analysis.decoders.geometry import decoder_geometry
from pipeline.analysis.decoders.summaries import (
    Latents,
    decoder_cosine_summary,
    decoder_cosine_table,
    relative_norm_summary,
    relative_norm_table,
)
from pipeline.columns import csv_bytes

W = np.random.default_rng(0).normal(size=(50, 2, 4))
W[:5, 0] = 0.0
LIVE = np.arange(50) % 10 != 0
GEOMETRY = decoder_geometry(W)
LATENTS = Latents(GEOMETRY.relative_norm, GEOMETRY.cosine, LIVE)


def test_histograms_count_every_latent_once() -> None:
    table = relative_norm_table(LATENTS, 20)
    assert (sum(table["n_live"]), sum(table["n_dead"])) == (45, 5)
    summary = decoder_cosine_summary(LATENTS, low=0.3, high=0.7)
    cosine = decoder_cosine_table(LATENTS, low=0.3, high=0.7, n_bins=9)
    assert sum(cosine["n_shared"]) == summary["n_shared"]


def test_the_counts_leave_dead_latents_out() -> None:
    summary = relative_norm_summary(LATENTS, window_tokens=9)
    assert (summary["n_live"], summary["n_dead"], summary["n_latents"]) == (45, 5, 50)
    assert summary["anthropic"]["it_only"] == 4
    assert sum(cast(Any, summary["reference"]).values()) == 45


def test_the_csv_has_one_line_per_bin() -> None:
    table = relative_norm_table(LATENTS, 20)
    rows = list(csv.DictReader(io.StringIO(csv_bytes(table).decode())))
    assert [int(row["n_live"]) for row in rows] == table["n_live"]


def test_without_shared_latents_the_summary_has_no_mean() -> None:
    summary = decoder_cosine_summary(replace(LATENTS, live=np.zeros(50, bool)), low=0.3, high=0.7)
    assert (summary["n_shared"], summary["mean"], summary["median"]) == (0, None, None)
