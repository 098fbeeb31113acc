"""The matrix products of a training step, in fp32, tf32 or bf16.

Only the encoder's product needs every (row, latent) pair. The other four (decode, the gradient of
the latents, and the two weight gradients) need the active pairs only: where few are active,
gathering rows of the weights beats a dense product (`entries`).

Letters: B rows of a batch, L latents, P = M * D.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Parameter

from pipeline.crosscoder.entries import (
    Buffers,
    DenseEntries,
    Entries,
    Precision,
    SparseEntries,
    gathers,
)
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.selection import on_cpu, positions_above
from pipeline.distributed import ALONE, Ranks

SAMPLE_ROWS = 64
"""Rows that the share of active pairs is estimated on."""


class Products:
    """Products of a batch with a crosscoder's weights.

    fp32 and tf32 compute in the parameters' own type; in tf32 a CUDA device rounds the inputs of
    each product to 10 bits of mantissa (`tensor_cores`) and accumulates in fp32. bf16 rounds the
    inputs and the result of each product to bf16 and accumulates in fp32; the weights stay in the
    parameters' type, and products take rounded copies of them. The result that is a weight's
    gradient is not rounded on a CUDA device (`entries.sums_to_fp32`).

    latents: the ranks that hold other latents of the same crosscoder
    copies: the rounded copies by parameter; none where the products have the parameters' type
    """

    def __init__(
        self, crosscoder: Crosscoder, precision: Precision, latents: Ranks = ALONE
    ) -> None:
        self.crosscoder = crosscoder
        self.latents = latents
        self.precision: Precision = precision
        self.dtype = torch.bfloat16 if precision == "bf16" else crosscoder.W_dec_LP.dtype
        self.buffers = Buffers(crosscoder.W_dec_LP.device)
        self.copies: dict[Parameter, RoundedCopy] = {
            weights: RoundedCopy(weights, self.dtype)
            for weights in (crosscoder.W_enc_LP, crosscoder.W_dec_LP)
            if weights.dtype != self.dtype
        }

    def begin(self) -> None:
        """Take over the weights of this step."""
        self.W_enc_LP = self._taken(self.crosscoder.W_enc_LP)
        self.W_dec_LP = self._taken(self.crosscoder.W_dec_LP)

    def _taken(self, weights: Parameter) -> Tensor:
        return self.copies[weights].taken() if self.copies else weights.detach()

    def rounded(self, name: str, tensor: Tensor) -> Tensor:
        """A matrix in the products' type, copied to the buffer `name` where it has another."""
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
        """The entries whose value is above a bound ([L] or one number) or, where that is faster,
        every entry. On a card every entry: the host would have to wait to learn how many are
        active, and in bf16 and tf32 there are hardly ever as few as gathering needs."""
        if on_cpu(values_BL):
            sample_BL = values_BL[:SAMPLE_ROWS] > above
            # A rank may have no rows of a short last batch.
            share = float(sample_BL.count_nonzero()) / max(sample_BL.numel(), 1)
            if gathers(values_BL.device, self.precision, share):
                flat_N = positions_above(values_BL, above)
                return SparseEntries.at(flat_N, values_BL.flatten()[flat_N], *values_BL.shape)
        return DenseEntries(values_BL, self.buffers)

    def entries_at(self, flat_N: Tensor, values: Tensor, n_rows: int, share: float) -> Entries:
        """Entries at ascending flat positions row * L + latent; of all pairs of all ranks, `share`
        are active. On a CPU they are gathered whatever the share: the choice of the positions is
        done, and that is most of what gathering costs there."""
        n_latents = self.crosscoder.n_latents
        if on_cpu(values) or gathers(values.device, self.precision, share):
            return SparseEntries.at(flat_N, values, n_rows, n_latents)
        return DenseEntries.at(flat_N, values, n_rows, n_latents, self.buffers)

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


class RoundedCopy:
    """A parameter in a narrower type. It is made anew for every step, unless the optimiser wrote it
    together with the parameter (`written`).

    What was written serves one step, and only while the parameter stays as it is: PyTorch counts
    the changes in place of a tensor. A start, a checkpoint or another change of the weights is thus
    followed by a new copy.
    """

    def __init__(self, parameter: Parameter, dtype: torch.dtype) -> None:
        self.parameter = parameter
        self.values = torch.empty_like(parameter, dtype=dtype, requires_grad=False)
        self._written_at: int | None = None

    def written(self) -> None:
        """Told by who has written to `values` what the parameter, as it is now, rounds to."""
        self._written_at = self.parameter._version

    def taken(self) -> Tensor:
        """The values, for a step."""
        if self._written_at != self.parameter._version:
            self.values.copy_(self.parameter.detach())
        self._written_at = None
        return self.values


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
