"""The Triton kernels, in Triton's interpreter on the CPU, against PyTorch's own products."""

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from pipeline.crosscoder import gathered
from pipeline.crosscoder.entries import SparseEntries
from tests.interpreted import interpreted, needs_triton

pytestmark = needs_triton
B, L, P = 40, 7, 150  # more rows and columns than a tile, and no multiple of it


@pytest.fixture(scope="module")
def kernels() -> Iterator[ModuleType]:
    with interpreted("pipeline.crosscoder.kernels") as module:
        yield module


def random_entries(dtype: torch.dtype, share: float = 0.4) -> SparseEntries:
    """Entries of which row 1 and latent 3 have none, and latent 0 one on every other row: more
    than fit into a tile."""
    generator = torch.Generator().manual_seed(0)
    values_BL = torch.rand(B, L, generator=generator).to(dtype)
    values_BL *= torch.rand(B, L, generator=generator) < share
    values_BL[:, 0], values_BL[1], values_BL[:, 3] = 0.5, 0.0, 0.0
    flat_N = values_BL.flatten().nonzero().squeeze(1)
    return SparseEntries.at(flat_N, values_BL.flatten()[flat_N], *values_BL.shape)


def normal(n: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.randn(n, P, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_give_the_products_of_pytorch(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    f = random_entries(dtype)
    W_LP, g_BP = normal(L, dtype, 1), normal(B, dtype, 2)
    exact = SparseEntries.at(f.row_N * L + f.latent_N, f.values.double(), B, L)
    monkeypatch.setattr(gathered, "by_kernels", lambda rows: rows.dtype == dtype)
    monkeypatch.setattr("pipeline.crosscoder.entries.on_cpu", lambda tensor: False)
    rtol, atol = (1e-4, 1e-4) if dtype == torch.float32 else (8e-3, 1e-2)
    for found, expected in [
        (f.decode(W_LP), exact.decode(W_LP.double())),
        (f.dot(g_BP, W_LP), exact.dot(g_BP.double(), W_LP.double())),
    ]:
        torch.testing.assert_close(found.double(), expected, rtol=rtol, atol=atol)
    for add in (False, True):
        ours, theirs = (torch.nn.Parameter(normal(L, torch.float32, 3)) for _ in "ab")
        ours.grad, theirs.grad = normal(L, torch.float32, 4), normal(L, torch.float32, 4)
        f.outer_into(ours, g_BP, add=add)
        exact.outer_into(theirs, g_BP.double(), add=add)
        # Sums are float32 whatever the rows are: only the values' own rounding is left.
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_no_entries_at_all_give_zeros(kernels: ModuleType) -> None:
    nothing, out = torch.zeros(0, dtype=torch.long), torch.ones(3, P)
    kernels.bags_into(out, nothing, normal(L, torch.float32, 0), torch.zeros(3).long(), nothing)
    assert not out.any()
    rows = normal(L, torch.float32, 0)
    assert len(kernels.dots(rows, rows, nothing, nothing)) == 0
