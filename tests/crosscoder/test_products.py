from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crosscoder.entries import (
    Buffers,
    DenseEntries,
    Precision,
    SparseEntries,
    gathers,
    product,
)
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.products import Products, RoundedCopy, tensor_cores
from pipeline.crosscoder.selection import positions_above
from tests.crosscoder.test_model import random_crosscoder
from tests.standin import card

B, L, P = 9, 14, 6


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def both_forms(values_BL: torch.Tensor) -> tuple[DenseEntries, SparseEntries]:
    flat_N = values_BL.flatten().nonzero().squeeze(1)
    sparse = SparseEntries.at(flat_N, values_BL.flatten()[flat_N], *values_BL.shape)
    return DenseEntries(values_BL, Buffers(values_BL.device)), sparse


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), above=st.floats(-2.0, 3.0))
def test_sparse_and_dense_entries_give_the_same_products(seed: int, above: float):
    values_BL = normal(B, L, seed=seed)
    values_BL *= values_BL > above  # from all pairs active to none, empty rows and latents too
    dense, sparse = both_forms(values_BL)
    W_LP, g_BP = normal(L, P, seed=seed + 1), normal(B, P, seed=seed + 2)
    torch.testing.assert_close(sparse.decode(W_LP), dense.decode(W_LP))
    torch.testing.assert_close(sparse.latent_sums(), dense.latent_sums())
    at_entries = dense.dot(g_BP, W_LP)[sparse.row_N, sparse.latent_N]
    torch.testing.assert_close(sparse.dot(g_BP, W_LP), at_entries)
    t_L = normal(L, seed=seed + 3)
    torch.testing.assert_close(sparse.per_latent(t_L), t_L[sparse.latent_N])
    for add in (False, True):
        parameters = [torch.nn.Parameter(torch.zeros(L, P, dtype=torch.float64)) for _ in "ab"]
        for parameter, entries in zip(parameters, (dense, sparse), strict=True):
            parameter.grad = normal(L, P, seed=5)
            entries.outer_into(parameter, g_BP, add=add)
        torch.testing.assert_close(parameters[1].grad, parameters[0].grad)


def test_entries_are_sparse_where_few_are_active_and_dense_where_many_are():
    products = Products(random_crosscoder(), "fp32")
    values_BL = normal(64, 100)
    assert isinstance(products.entries(values_BL, 2.0), SparseEntries)
    assert isinstance(products.entries(values_BL, 0.0), DenseEntries)


@pytest.mark.parametrize(
    ("n_latents", "precision", "expected"),
    [
        (16_384, "fp32", True),
        (16_384, "tf32", False),
        (16_384, "bf16", False),
        (73_728, "tf32", True),
        (73_728, "bf16", True),
    ],
)
def test_a_card_gathers_100_latents_a_row_where_its_dense_product_is_dearer(
    n_latents: int, precision: Precision, expected: bool
) -> None:
    """The times of both are in docs/performance.md, "Dense or gathered"."""
    assert gathers(torch.device("cuda"), precision, 100 / n_latents) == expected


def test_positions_above_a_bound_per_latent_are_ascending():
    values_BL, bound_L = normal(B, L), normal(L, seed=1)
    flat_N = positions_above(values_BL, bound_L)
    expected = [
        row * L + latent
        for row in range(B)
        for latent in range(L)
        if values_BL[row, latent] > bound_L[latent]
    ]
    assert flat_N.tolist() == expected


def test_a_buffer_keeps_its_memory_for_shorter_use():
    buffers = Buffers(torch.device("cpu"))
    long = buffers.take("a", (8, 3), torch.float32)
    short = buffers.take("a", (2, 3), torch.float32)
    assert short.data_ptr() == long.data_ptr()
    assert short.shape == (2, 3)
    assert buffers.take("a", (9, 3), torch.float32).shape == (9, 3)


@pytest.mark.parametrize("active", [0.02, 0.9])
def test_bf16_sums_over_many_rows_are_accumulated_in_fp32(active: float):
    values_BL = (
        torch.rand(4096, 8, generator=torch.Generator().manual_seed(0)) < active
    ).bfloat16()
    dense, sparse = both_forms(values_BL)
    exact_L = values_BL.double().sum(0)
    for entries in (dense, sparse):
        torch.testing.assert_close(entries.latent_sums().double(), exact_L, rtol=4e-3, atol=0)


def test_products_of_a_gpu_are_full_unless_tf32_is_asked_for() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    modes: dict[Precision, str] = {"tf32": "tf32", "fp32": "ieee", "bf16": "ieee"}
    for precision, expected in modes.items():
        with tensor_cores(precision):
            assert matmul.fp32_precision == expected
    assert matmul.fp32_precision == before


def test_sums_over_rows_of_rounded_values_are_not_rounded() -> None:
    values = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    sums_L = DenseEntries(values, Buffers(torch.device("cpu"))).latent_sums()
    assert torch.allclose(sums_L.double(), values.double().sum(0), rtol=1e-6)


CHANGES: dict[str, Callable[[Crosscoder], object]] = {
    "a copy": lambda crosscoder: crosscoder.W_dec_LP.copy_(crosscoder.W_enc_LP),
    "a loaded state": lambda crosscoder: crosscoder.load_state_dict(
        random_crosscoder(2).state_dict()
    ),
    "decoder rows of norm 1, through a view": lambda crosscoder: crosscoder.W_dec.div_(
        crosscoder.decoder_norms()[:, :, None]
    ),
    "some latents, through an index": lambda crosscoder: crosscoder.W_dec[2:4].zero_(),
    "a tensor that shares the memory": lambda crosscoder: crosscoder.W_dec_LP.detach().mul_(2),
    "weights as plain data": lambda crosscoder: crosscoder.weights().W_dec.mul_(2),
    "numbers in place": lambda crosscoder: crosscoder.W_dec_LP.add_(1.0),
}


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_what_was_written_with_the_weights_is_not_taken_once_they_changed(change: str) -> None:
    crosscoder = random_crosscoder(1)
    copy = RoundedCopy(crosscoder.W_dec_LP, torch.bfloat16)
    copy.values.fill_(7.0)
    copy.written()
    CHANGES[change](crosscoder)
    assert torch.equal(copy.taken(), crosscoder.W_dec_LP.bfloat16())


@torch.no_grad()
def test_what_was_written_with_the_weights_is_taken_for_one_step() -> None:
    crosscoder = random_crosscoder()
    copy, rounded = (RoundedCopy(crosscoder.W_dec_LP, torch.bfloat16) for _ in "ab")
    copy.values.fill_(7.0)
    copy.written()
    assert copy.taken().eq(7.0).all()
    for each in (copy, rounded):
        assert torch.equal(each.taken(), crosscoder.W_dec_LP.bfloat16())


@pytest.mark.parametrize("add", [True, False])
def test_a_card_adds_up_the_gradient_of_weights_in_fp32(add: bool) -> None:
    values_BL, rows_BP = normal(40, L).bfloat16(), normal(40, P, seed=1).bfloat16()
    before_LP = normal(L, P, seed=2).float()
    expected = values_BL.double().t() @ rows_BP.double() + (before_LP if add else 0)

    def gradient(device: torch.device) -> torch.Tensor:
        parameter = torch.nn.Parameter(torch.zeros(L, P).to(device))
        parameter.grad = before_LP.clone().to(device)
        entries = DenseEntries(values_BL.to(device), Buffers(device))
        entries.outer_into(parameter, rows_BP.to(device), add=add)
        return parameter.grad.cpu()

    with card() as device:
        on_card = gradient(device)
    assert (on_card - expected).norm() < 1e-6 * expected.norm()
    assert (gradient(torch.device("cpu")) - expected).norm() > 1e-4 * expected.norm()


def test_a_card_gives_a_product_of_rounded_numbers_unrounded() -> None:
    left, right = normal(8, 40).bfloat16(), normal(40, P, seed=1).bfloat16()
    exact = left.double() @ right.double()
    with card() as device:
        on_card = product(left.to(device), right.to(device), torch.float32).cpu()
    on_cpu = product(left, right, torch.float32)
    assert on_card.dtype == on_cpu.dtype == torch.float32
    assert torch.allclose(on_card.double(), exact, rtol=1e-5, atol=1e-5)
    assert torch.equal(on_cpu, (left @ right).float())
    assert not torch.allclose(on_cpu.double(), exact, rtol=1e-5, atol=1e-5)
