"""The products at the active pairs in each of their forms: against the dense one, and how fast.

Forms: `dense`; `gathered` by PyTorch; `kernels` of Triton, on a card where it is installed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor
from torch.nn import Parameter

from benchmarks.gpu_check.checks import Finding, left_out, within
from benchmarks.gpu_check.speed import SIZES, median_seconds
from benchmarks.gpu_check.steps import difference, has_kernels, without_kernels
from benchmarks.train_step import CPU, N_MODELS, Size
from pipeline.crosscoder.entries import Buffers, DenseEntries, Entries, SparseEntries

LIMIT = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Largest norm of a product minus the same in float64 on the CPU, over the norm of that. PyTorch's
own gathering adds up in the type of the rows, at 16 entries here."""
SMALL = Size(batch_rows=96, d_model=100, n_latents=300, k=16)


def agree(device: torch.device) -> Iterator[Finding]:
    """Each form and type against float64 on the CPU; one latent is active on every row."""
    exact = products_of("dense", SMALL, torch.float64, CPU)
    for dtype, limit in LIMIT.items():
        for form in forms(device):
            found = products_of(form, SMALL, dtype, device)
            apart = {name: difference(found[name].cpu(), exact[name]) for name in exact}
            name = f"products, {form}, {str(dtype).removeprefix('torch.')}"
            yield within(name, apart, dict.fromkeys(apart, limit))
    if "kernels" not in forms(device):
        yield left_out("products, kernels", "no card, or no Triton that can run")


def forms(device: torch.device) -> list[str]:
    return ["dense", "gathered", *(["kernels"] if has_kernels(device) else [])]


def products_of(
    form: str, size: Size, dtype: torch.dtype, device: torch.device
) -> Mapping[str, Tensor]:
    return {name: work() for name, work in workload(form, size, dtype, device).items()}


def workload(
    form: str, size: Size, dtype: torch.dtype, device: torch.device
) -> Mapping[str, Callable[[], Tensor]]:
    """Decode, dot and outer of `k` active latents a row, ready to be called; the results of dot
    as a dense [B, L] with zeros where nothing is active."""
    random = torch.Generator().manual_seed(0)
    width = N_MODELS * size.d_model
    W_LP = torch.randn(size.n_latents, width, generator=random).to(device, dtype)
    g_BP = torch.randn(size.batch_rows, width, generator=random).to(device, dtype)
    chosen_BK = torch.rand(size.batch_rows, size.n_latents, generator=random).topk(size.k).indices
    chosen_BK[:, 0] = 0
    mask_BL = torch.zeros(size.batch_rows, size.n_latents, dtype=torch.bool)
    flat_N = mask_BL.scatter_(1, chosen_BK, value=True).flatten().nonzero().squeeze(1)
    values_N = torch.rand(len(flat_N), generator=random).to(device, dtype)
    f = entries(form, flat_N.to(device), values_N, size)
    parameter = Parameter(torch.empty(size.n_latents, width, device=device), requires_grad=False)

    def outer() -> Tensor:
        parameter.grad = None
        f.outer_into(parameter, g_BP)
        assert parameter.grad is not None
        return parameter.grad

    def dot() -> Tensor:
        found = f.dot(g_BP, W_LP)
        if isinstance(f, DenseEntries):
            return found * (f.values != 0)
        flat = found.new_zeros(size.batch_rows * size.n_latents)
        return flat.index_copy_(0, flat_N.to(device), found).view(size.batch_rows, -1)

    works = {"decode": lambda: f.decode(W_LP), "dot": dot, "outer": outer}
    return {name: partial(in_form, form, work) for name, work in works.items()}


def entries(form: str, flat_N: Tensor, values_N: Tensor, size: Size) -> Entries:
    if form == "dense":
        buffers = Buffers(values_N.device)
        return DenseEntries.at(flat_N, values_N, size.batch_rows, size.n_latents, buffers)
    return SparseEntries.at(flat_N, values_N, size.batch_rows, size.n_latents)


def in_form(form: str, work: Callable[[], Tensor]) -> Tensor:
    with without_kernels() if form == "gathered" else nullcontext():
        return work()


def speed(device: torch.device) -> Iterator[Finding]:
    """Milliseconds of decode, dot and outer together in each form at the published sizes: where
    the break-even lies (`pipeline.crosscoder.entries.GATHER_BELOW`)."""
    for size_name, (size, _) in SIZES.items():
        for dtype in LIMIT:
            milliseconds = {
                form: 1e3 * median_seconds(partial(all_of, workload(form, size, dtype, device)))
                for form in forms(device)
            }
            share = {"active_share": size.k / size.n_latents}
            name = f"products, {size_name}, k {size.k}, {str(dtype).removeprefix('torch.')}"
            yield Finding(name, None, milliseconds | share)


def all_of(works: Mapping[str, Callable[[], Tensor]]) -> None:
    for work in works.values():
        work()
