"""The values of a batch at some (row, latent) pairs, and the products they take part in.

Dense entries hold every pair, sparse ones the active pairs only and gather rows of the weights.
`gathers` says which of the two is faster.

Letters: B rows of a batch, L latents, P = M * D, N entries.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import torch
from torch import Tensor
from torch.nn import Parameter

from pipeline.crosscoder import gathered
from pipeline.crosscoder.selection import on_cpu

Precision = Literal["fp32", "tf32", "bf16"]

GATHER_BELOW: Mapping[str, Mapping[Precision, float]] = {
    "cpu": {"fp32": 1 / 16, "bf16": 1 / 16},
    "cuda": {"fp32": 1 / 80, "tf32": 1 / 600, "bf16": 1 / 500},
}
"""Share of active pairs below which gathering beats the dense product, by device and precision.

On CPUs the break-even was measured at 0.1 to 0.2. For cards it is arithmetic: a pair of a dense
product takes 2 / (rate of the products), a gathered one (bytes of a weight) / (rate of gathers), at
an H100's data sheet and 1.2 TB/s (`docs/performance.md`). `make gpu-check` measures it."""


def gathers(device: torch.device, precision: Precision, share: float) -> bool:
    """Whether to gather where this share of the pairs is active."""
    return share < GATHER_BELOW[device.type][precision]


class Entries(Protocol):
    """Values at some (row, latent) pairs of a batch; every other pair is 0."""

    @property
    def values(self) -> Tensor: ...

    def with_values(self, values: Tensor) -> Self:
        """Other values at the same pairs."""
        ...

    def per_latent(self, t_L: Tensor) -> Tensor:
        """A quantity per latent, shaped to go with `values`."""
        ...

    def decode(self, W_LP: Tensor) -> Tensor:
        """values W: [B, P]."""
        ...

    def dot(self, g_BP: Tensor, W_LP: Tensor) -> Tensor:
        """<g_b, W_l> at every pair (b, l), shaped as `values`."""
        ...

    def outer_into(self, parameter: Parameter, rows_BP: Tensor, *, add: bool = False) -> None:
        """values^T rows [L, P] becomes the parameter's gradient, or is added to it."""
        ...

    def latent_sums(self) -> Tensor:
        """Sum over the rows: [L], accumulated in fp32 or better."""
        ...

    def fired(self) -> Tensor:
        """Whether a latent has a value other than 0 on any row: [L]."""
        ...


@dataclass(frozen=True)
class DenseEntries:
    """Every pair: values [B, L]. Results of products live in `buffers`, to be used again."""

    values: Tensor
    buffers: "Buffers"

    @classmethod
    def at(
        cls, flat_N: Tensor, values: Tensor, n_rows: int, n_latents: int, buffers: "Buffers"
    ) -> "DenseEntries":
        """Values at the flat positions row * n_latents + latent, 0 at all others."""
        values_BL = buffers.take("entries", (n_rows, n_latents), values.dtype).zero_()
        values_BL.view(-1).index_copy_(0, flat_N, values)
        return cls(values_BL, buffers)

    def with_values(self, values: Tensor) -> "DenseEntries":
        return replace(self, values=values)

    def per_latent(self, t_L: Tensor) -> Tensor:
        return t_L.to(self.values.dtype)

    def decode(self, W_LP: Tensor) -> Tensor:
        out_BP = self.buffers.take("decoded", (len(self.values), W_LP.shape[1]), W_LP.dtype)
        return torch.mm(self.values, W_LP, out=out_BP)

    def dot(self, g_BP: Tensor, W_LP: Tensor) -> Tensor:
        out_BL = self.buffers.take("dot", (len(g_BP), len(W_LP)), W_LP.dtype)
        return torch.mm(g_BP, W_LP.t(), out=out_BL)

    def outer_into(self, parameter: Parameter, rows_BP: Tensor, *, add: bool = False) -> None:
        gradient_LP, beta = gradient_of(parameter), 1 if add else 0
        if rows_BP.dtype == gradient_LP.dtype:
            gradient_LP.addmm_(self.values.t(), rows_BP, beta=beta)
            return
        if sums_to_fp32(rows_BP):
            left, dtype = self.values.t(), gradient_LP.dtype
            torch.addmm(gradient_LP, left, rows_BP, out_dtype=dtype, beta=beta, out=gradient_LP)
            return
        shape = (self.values.shape[1], rows_BP.shape[1])
        product_LP = self.buffers.take("outer", shape, rows_BP.dtype)
        torch.mm(self.values.t(), rows_BP, out=product_LP)
        (gradient_LP.add_ if add else gradient_LP.copy_)(product_LP)

    def latent_sums(self) -> Tensor:
        return self.values.sum(0, dtype=torch.promote_types(self.values.dtype, torch.float32))

    def fired(self) -> Tensor:
        return (self.values != 0).any(0)


@dataclass(frozen=True)
class SparseEntries:
    """N pairs, by row and then latent: values [N], row_N, latent_N.

    row_start_B: where a row's entries start; order_N sorts the entries by latent and then row,
    latent_start_L: where a latent's entries start in that order.
    """

    values: Tensor
    row_N: Tensor
    latent_N: Tensor
    row_start_B: Tensor
    order_N: Tensor
    latent_start_L: Tensor

    @classmethod
    def at(cls, flat_N: Tensor, values: Tensor, n_rows: int, n_latents: int) -> "SparseEntries":
        """Entries at the ascending flat positions row * n_latents + latent."""
        row_N = flat_N // n_latents
        latent_N = flat_N - row_N * n_latents
        by_latent_N, order_N = torch.sort(latent_N, stable=True)
        return cls(
            values=values,
            row_N=row_N,
            latent_N=latent_N,
            row_start_B=_starts(row_N, n_rows),
            order_N=order_N,
            latent_start_L=_starts(by_latent_N, n_latents),
        )

    def with_values(self, values: Tensor) -> "SparseEntries":
        return replace(self, values=values)

    def per_latent(self, t_L: Tensor) -> Tensor:
        return t_L.to(self.values.dtype)[self.latent_N]

    def decode(self, W_LP: Tensor) -> Tensor:
        return gathered.bags(self.latent_N, W_LP, self.row_start_B, self.values)

    def dot(self, g_BP: Tensor, W_LP: Tensor) -> Tensor:
        if on_cpu(g_BP) and g_BP.dtype != torch.bfloat16:
            return self._sampled(g_BP, W_LP)
        return gathered.dots(g_BP, W_LP, self.row_N, self.latent_N, self.row_start_B)

    def _sampled(self, g_BP: Tensor, W_LP: Tensor) -> Tensor:
        """The same by the sampled product of sparse matrices: 2.5 times as fast, not for bf16."""
        n_entries = torch.tensor([len(self.latent_N)], device=g_BP.device)
        pattern = _csr(
            torch.cat([self.row_start_B, n_entries]),
            self.latent_N,
            torch.zeros_like(self.values),
            (len(g_BP), len(W_LP)),
        )
        return torch.sparse.sampled_addmm(pattern, g_BP, W_LP.t(), beta=0.0).values()

    def outer_into(self, parameter: Parameter, rows_BP: Tensor, *, add: bool = False) -> None:
        values_N, row_N = self.values[self.order_N], self.row_N[self.order_N]
        if gathered.by_kernels(rows_BP):
            gradient_LP = gradient_of(parameter)
            gathered.bags_into(gradient_LP, row_N, rows_BP, self.latent_start_L, values_N, add=add)
            return
        product_LP = gathered.bags(row_N, rows_BP, self.latent_start_L, values_N)
        if add:
            gradient_of(parameter).add_(product_LP)
        elif product_LP.dtype == parameter.dtype:
            parameter.grad = product_LP
        else:
            gradient_of(parameter).copy_(product_LP)

    def latent_sums(self) -> Tensor:
        dtype = torch.promote_types(self.values.dtype, torch.float32)
        sums_L = torch.zeros(len(self.latent_start_L), dtype=dtype, device=self.values.device)
        return sums_L.index_add_(0, self.latent_N, self.values.to(dtype))

    def fired(self) -> Tensor:
        fired_L = torch.zeros(len(self.latent_start_L), dtype=torch.bool, device=self.values.device)
        return fired_L.index_fill_(0, self.latent_N, True)


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch says once per process that the layout is in beta.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


def _starts(group_N: Tensor, n_groups: int) -> Tensor:
    """Where each of the groups 0 to n_groups - 1 begins in ascending group numbers. By bisection:
    counting them would make the host wait for their range."""
    return torch.searchsorted(group_N, torch.arange(n_groups, device=group_N.device))


class Buffers:
    """Memory that every step uses again, which spares a page fault per 4 KiB and step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """The buffer `name`, contents undefined; its memory is kept for later, shorter ones."""
        kept = self._kept.get(name)
        if kept is None or kept.dtype != dtype or kept.shape[0] < shape[0]:
            kept = self._kept[name] = torch.empty(shape, dtype=dtype, device=self.device)
        return kept[: shape[0]]


def gradient_of(parameter: Parameter) -> Tensor:
    """The parameter's `.grad`, made where it is not there yet; contents are to be overwritten."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    return parameter.grad


def sums_to_fp32(rows: Tensor) -> bool:
    """Whether a product of rows in bf16 can give its sums, which are fp32, unrounded: PyTorch has
    that product for CUDA alone."""
    return rows.device.type == "cuda" and rows.dtype == torch.bfloat16


def product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """left right in a type, rounded to that of its operands on the way only where it must be."""
    if sums_to_fp32(left):
        return torch.mm(left, right, out_dtype=dtype)
    return (left @ right).to(dtype)


def relu_backward(gradient: Tensor, value: Tensor) -> Tensor:
    """`gradient` with zeros where `value` is 0, in place and in one pass."""
    return torch.ops.aten.threshold_backward.grad_input(gradient, value, 0, grad_input=gradient)
