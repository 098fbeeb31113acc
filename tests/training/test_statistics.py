import numpy as np
import pytest
import torch

from pipeline.errors import NonFiniteError
from pipeline.training.statistics import first_rows, geometric_median, measure_normalisation
from pipeline.training.stream import Stream, as_tensor
from tests.training.planted_rows import MemorySource, planted_rows


def test_normalised_rows_have_norm_root_d_on_average():
    rows = planted_rows(500)
    measured = measure_normalisation(Stream(MemorySource(rows), 64, 500, seed=0))
    x = as_tensor(rows).double() * measured.scale_M[:, None]
    expected = torch.full((2,), rows.shape[-1] ** 0.5, dtype=torch.float64)
    torch.testing.assert_close(x.norm(dim=-1).mean(0), expected)
    torch.testing.assert_close(measured.mean_MD, as_tensor(rows).double().mean(0))
    assert measured.n_rows == 500


def test_only_the_rows_trained_on_are_measured():
    rows = planted_rows(500)
    measured = measure_normalisation(Stream(MemorySource(rows), 64, 100, seed=0))
    torch.testing.assert_close(measured.mean_MD, as_tensor(rows[:100]).double().mean(0))


def test_sums_do_not_lose_digits_over_many_rows():
    rows = np.full((200_000, 1, 1), 0.1, dtype=np.float32)
    measured = measure_normalisation(Stream(MemorySource(rows), 4096, len(rows), seed=0))
    assert float(measured.mean_MD) == pytest.approx(float(np.float32(0.1)), rel=1e-13)


def test_a_row_that_is_not_finite_is_named():
    rows = np.ones((100, 2, 4), dtype=np.float32)
    rows[70, 1, 2] = np.nan
    with pytest.raises(NonFiniteError, match="rows 64 to 96 "):
        measure_normalisation(Stream(MemorySource(rows), 32, 100, seed=0))


@pytest.mark.parametrize(("n_models", "name"), [(2, "it"), (1, "the difference")])
def test_rows_that_are_nothing_but_0_are_named_before_they_divide(n_models: int, name: str):
    rows = np.ones((100, n_models, 4), dtype=np.float32)
    rows[:, -1] = 0
    with pytest.raises(NonFiniteError, match=f"all 100 rows .* are 0 in {name}, expected .*: look"):
        measure_normalisation(Stream(MemorySource(rows), 32, 100, seed=0))


def test_the_geometric_median_ignores_an_outlier():
    square = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0], [1.0, 1.0]])
    outlier = torch.tensor([[1.0, 1e6]])
    median = geometric_median(torch.cat([square, outlier]))
    assert float((median - torch.tensor([1.0, 1.0], dtype=torch.float64)).norm()) < 0.3


def test_first_rows_copies_rows_out_of_the_readers_buffer():
    rows = planted_rows(100)
    first = first_rows(Stream(MemorySource(rows), 16, 100, seed=0), 40)
    assert torch.equal(first, as_tensor(rows[:40]).float())
