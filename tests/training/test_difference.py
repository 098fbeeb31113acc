from pathlib import Path

import numpy as np
import torch

from pipeline.config.crosscoder import BatchTopKConfig
from pipeline.crosscoder import Crosscoder
from pipeline.training.difference import DifferenceRows, difference
from pipeline.training.stream import Stream
from pipeline.training.training import Training
from tests.analysis.stores import heldout_store
from tests.training.planted_rows import train_config

D = 6


def paired_rows(n_rows: int = 512) -> torch.Tensor:
    """Large common activations; the models differ along two directions, one at a time."""
    random = torch.Generator().manual_seed(0)
    common = 8 * torch.randn(n_rows, 1, D, generator=random)
    rows = common.expand(-1, 2, -1).clone()
    which = torch.arange(n_rows) % 2
    rows[torch.arange(n_rows), 1, which] += 4 + torch.rand(n_rows, generator=random)
    return rows.bfloat16().float()


def test_rows_are_it_minus_base_taken_in_float32() -> None:
    rows = paired_rows(4)
    stored = rows.bfloat16().view(torch.uint16).numpy()
    found = difference(stored)
    assert found.dtype == np.float32
    assert found.shape == (4, 1, D)
    np.testing.assert_array_equal(found[:, 0], (rows[:, 1] - rows[:, 0]).numpy())


def test_every_epoch_of_the_view_is_the_same_epoch_of_the_store(tmp_path: Path) -> None:
    rows = paired_rows()
    with heldout_store(tmp_path / "store", rows) as reader:
        view = DifferenceRows(reader)
        assert view.n_rows == reader.n_rows == 512
        pairs = zip(
            Stream(view, 100, 1024, seed=3).batches(),
            Stream(reader, 100, 1024, seed=3).batches(),
            strict=True,
        )
        for mine, theirs in pairs:
            expected = theirs.x_raw[:, 1].float() - theirs.x_raw[:, 0].float()
            assert torch.equal(mine.x_raw[:, 0], expected)


def test_the_trainer_learns_a_dictionary_of_the_difference(tmp_path: Path) -> None:
    config = BatchTopKConfig(
        kind="batch_topk",
        n_latents=8,
        decoder_init_norm=1.0,
        decoder_init_shared=True,
        decoder_bias_init="zero",
        k=1,
        k_start=1,
        k_anneal_fraction=0.0,
        threshold="calibrated",
        threshold_momentum=0.9,
        calibration_rows=512,
        reconstruction="squared",
        auxk_coefficient=0.03,
        k_aux=None,
        seed=0,
    )
    with heldout_store(tmp_path / "store", paired_rows()) as reader:
        view = DifferenceRows(reader)
        training = Training(
            crosscoder=config,
            train=train_config(batch_rows=64, n_rows=64 * 400, learning_rate=1e-2),
            source=view,
            heldout=view,
            folder=tmp_path / "diff_sae",
            device=torch.device("cpu"),
        )
        job = training.start()
        job.train(lambda n, **figures: None)
        training.write(job, provenance={})
    diff_sae = Crosscoder.load(tmp_path / "diff_sae")
    assert (diff_sae.n_models, diff_sae.d_model) == (1, D)
    delta = torch.from_numpy(difference(paired_rows().numpy()))
    error = (diff_sae.reconstruct(delta) - delta).square().sum()
    assert float(error / delta.square().sum()) < 0.05
