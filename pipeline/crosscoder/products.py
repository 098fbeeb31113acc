"""The matrix products of a training step, in fp32 or bf16, dense or over the active entries.

Only the encoder's product needs every (row, latent) pair. The other four (decode, the gradient of
the latents, and the two weight gradients) need the active pairs only: where few are active,
gathering rows of the weights beats a dense product (`docs/performance.md`).

Letters: B rows of a batch, L latents, P = models * width of a model, N entries.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.selection import on_cpu, positions_above
from pipeline.distributed import ALONE, Ranks

Precision = Literal["fp32", "tf32", "bf16"]

SPARSE_BELOW = 1 / 16
"""Share of active pairs below which gathering wins on a CPU; the break-even is at 0.1 to 0.2."""

SAMPLE_ROWS = 64
"""Rows that the share of active pairs is estimated on."""


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


@dataclass(frozen=True)
class DenseEntries:
    """Every pair: values [B, L]. Results of products live in `buffers`, to be used again."""

    values: Tensor
    buffers: "Buffers"

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
        gradient_LP = gradient_of(parameter)
        if rows_BP.dtype == gradient_LP.dtype:
            gradient_LP.addmm_(self.values.t(), rows_BP, beta=1 if add else 0)
            return
        shape = (self.values.shape[1], rows_BP.shape[1])
        product_LP = self.buffers.take("outer", shape, rows_BP.dtype)
        torch.mm(self.values.t(), rows_BP, out=product_LP)
        (gradient_LP.add_ if add else gradient_LP.copy_)(product_LP)

    def latent_sums(self) -> Tensor:
        return self.values.sum(0, dtype=torch.promote_types(self.values.dtype, torch.float32))


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
        return _weighted_bags(self.latent_N, W_LP, self.row_start_B, self.values)

    def dot(self, g_BP: Tensor, W_LP: Tensor) -> Tensor:
        if on_cpu(g_BP) and g_BP.dtype != torch.bfloat16:
            return self._sampled(g_BP, W_LP)
        # embedding_bag's own backward for its weights: a dot product per entry, and no more.
        sum_mode = 0
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(
            g_BP, W_LP, self.latent_N, self.row_start_B, self.row_N, sum_mode
        )

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
        product_LP = _weighted_bags(row_N, rows_BP, self.latent_start_L, values_N)
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


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch says once per process that the layout is in beta.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


def _starts(group_N: Tensor, n_groups: int) -> Tensor:
    """Where each of the groups 0 to n_groups - 1 begins in ascending group numbers. By bisection:
    counting them would make the host wait for their range."""
    return torch.searchsorted(group_N, torch.arange(n_groups, device=group_N.device))


def _weighted_bags(index_N: Tensor, rows: Tensor, start: Tensor, weights_N: Tensor) -> Tensor:
    """Sum of weights_N * rows[index_N] over each run of entries that `start` begins."""
    return F.embedding_bag(index_N, rows, start, mode="sum", per_sample_weights=weights_N)


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


class Products:
    """Products of a batch with a crosscoder's weights.

    fp32 and tf32 compute in the parameters' own type; in tf32 a CUDA device rounds the inputs of
    each product to 10 bits of mantissa (`tensor_cores`) and accumulates in fp32. bf16 rounds the
    inputs and the result of each product to bf16 and accumulates in fp32; the weights stay in the
    parameters' type, and `begin` renews a rounded copy. latents: the ranks that hold other latents
    of the same crosscoder.
    """

    def __init__(
        self, crosscoder: Crosscoder, precision: Precision, latents: Ranks = ALONE
    ) -> None:
        self.crosscoder = crosscoder
        self.latents = latents
        self.dtype = torch.bfloat16 if precision == "bf16" else crosscoder.W_dec_LP.dtype
        self.buffers = Buffers(crosscoder.W_dec_LP.device)

    def begin(self) -> None:
        """Take over the weights of this step."""
        self.W_enc_LP = self.rounded("W_enc", self.crosscoder.W_enc_LP)
        self.W_dec_LP = self.rounded("W_dec", self.crosscoder.W_dec_LP)

    def rounded(self, name: str, tensor: Tensor) -> Tensor:
        """A matrix in the products' type, copied to the buffer `name` where it has another."""
        tensor = tensor.detach()
        if tensor.dtype == self.dtype:
            return tensor
        shape = (tensor.shape[0], tensor.shape[1])
        return self.buffers.take(name, shape, self.dtype).copy_(tensor)

    def preactivations(self, x_BP: Tensor) -> Tensor:
        """x_BP W_enc + b_enc, [B, L]; x_BP in the products' type."""
        shape = (len(x_BP), self.crosscoder.n_latents)
        out_BL = self.buffers.take("preactivations", shape, self.dtype)
        b_enc_L = self.crosscoder.b_enc_L.detach().to(self.dtype)
        return torch.addmm(b_enc_L, x_BP, self.W_enc_LP.t(), out=out_BL)

    def entries(self, values_BL: Tensor, above: Tensor | float) -> Entries:
        """The entries whose value is above a bound ([L] or one number) or, where they are many,
        every entry."""
        if on_cpu(values_BL):
            sample_BL = values_BL[:SAMPLE_ROWS] > above
            if float(sample_BL.count_nonzero()) < SPARSE_BELOW * sample_BL.numel():
                flat_N = positions_above(values_BL, above)
                return SparseEntries.at(flat_N, values_BL.flatten()[flat_N], *values_BL.shape)
        return DenseEntries(values_BL, self.buffers)

    def reconstruct(self, f: Entries) -> Tensor:
        """f W_dec + b_dec, [B, P], over the latents of all ranks, in the parameters' type."""
        b_dec_P = self.latents.once(self.crosscoder.b_dec_P.detach())
        product_BP = f.decode(self.W_dec_LP)
        if product_BP.dtype == b_dec_P.dtype:
            x_hat_BP = product_BP.add_(b_dec_P)
        else:
            shape = (len(product_BP), len(b_dec_P))
            out_BP = self.buffers.take("reconstruction", shape, b_dec_P.dtype)
            x_hat_BP = torch.add(product_BP, b_dec_P, out=out_BP)
        self.latents.sum(x_hat_BP)
        return x_hat_BP


@contextmanager
def tensor_cores(precision: Precision) -> Iterator[None]:
    """While this is open, a CUDA device takes float32 products in TF32 if `precision` is tf32, and
    in full otherwise, whatever was set before."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def gradient_of(parameter: Parameter) -> Tensor:
    """The parameter's `.grad`, made where it is not there yet; contents are to be overwritten."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    return parameter.grad
