"""The five matrix products of a dense step, in fp32 or bf16, with buffers that are used again.

Letters: B rows of a batch, L latents, P = models * width of a model.
"""

from typing import Literal

import torch
from torch import Tensor

from pipeline.crosscoder.model import Crosscoder

Precision = Literal["fp32", "bf16"]


class DenseProducts:
    """Products of a batch with a crosscoder's weights.

    fp32 computes in the parameters' own type. bf16 rounds the inputs and the result of each
    product to bf16 and accumulates in fp32; the weights stay in the parameters' type, and a
    rounded copy is renewed by `begin`. Large results live in buffers that the next step
    overwrites, which spares a page fault per 4 KiB and step.
    """

    def __init__(self, crosscoder: Crosscoder, precision: Precision) -> None:
        self.crosscoder = crosscoder
        self.dtype = torch.bfloat16 if precision == "bf16" else crosscoder.W_dec_LP.dtype
        self._buffers: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Take over the weights of this step."""
        self.W_enc_LP = self._rounded("W_enc", self.crosscoder.W_enc_LP)
        self.W_dec_LP = self._rounded("W_dec", self.crosscoder.W_dec_LP)

    def buffer(self, name: str, shape: tuple[int, int], dtype: torch.dtype | None = None) -> Tensor:
        """A buffer of `shape`, contents undefined; its memory is kept for later, shorter ones."""
        dtype = dtype or self.dtype
        kept = self._buffers.get(name)
        if kept is None or kept.dtype != dtype or kept.shape[0] < shape[0]:
            device = self.crosscoder.W_dec_LP.device
            kept = self._buffers[name] = torch.empty(shape, dtype=dtype, device=device)
        return kept[: shape[0]]

    def rounded(self, name: str, tensor: Tensor) -> Tensor:
        """`tensor` in the products' type, in the buffer `name` where that needs a copy."""
        return self._rounded(name, tensor)

    def _rounded(self, name: str, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        if tensor.dtype == self.dtype:
            return tensor
        return self.buffer(name, (tensor.shape[0], tensor.shape[1])).copy_(tensor)

    def preactivations(self, x_BP: Tensor) -> Tensor:
        """x_BP W_enc + b_enc, [B, L]; x_BP in the products' type."""
        out_BL = self.buffer("latents", (len(x_BP), self.crosscoder.n_latents))
        b_enc_L = self.crosscoder.b_enc_L.detach().to(self.dtype)
        return torch.addmm(b_enc_L, x_BP, self.W_enc_LP.t(), out=out_BL)

    def decode(self, f_BL: Tensor) -> Tensor:
        """f_BL W_dec + b_dec, [B, P], in the parameters' type."""
        shape = (len(f_BL), self.W_dec_LP.shape[1])
        b_dec_P = self.crosscoder.b_dec_P.detach()
        if self.dtype == b_dec_P.dtype:
            return torch.addmm(b_dec_P, f_BL, self.W_dec_LP, out=self.buffer("decoded", shape))
        product_BP = torch.mm(f_BL, self.W_dec_LP, out=self.buffer("product", shape))
        return torch.add(product_BP, b_dec_P, out=self.buffer("decoded", shape, b_dec_P.dtype))

    def latent_gradient(self, g_BP: Tensor, offset_L: Tensor) -> Tensor:
        """g_BP W_dec^T + offset_L, [B, L]: the gradient that reaches the latents."""
        out_BL = self.buffer("latent gradient", (len(g_BP), self.crosscoder.n_latents))
        return torch.addmm(offset_L.to(self.dtype), g_BP, self.W_dec_LP.t(), out=out_BL)

    def weight_gradient(
        self, latents_BL: Tensor, rows_BP: Tensor, gradient_LP: Tensor, *, add: bool
    ) -> None:
        """latents_BL^T rows_BP into `gradient_LP`, or added to it."""
        if self.dtype == gradient_LP.dtype:
            gradient_LP.addmm_(latents_BL.t(), rows_BP, beta=1 if add else 0)
            return
        shape = (gradient_LP.shape[0], gradient_LP.shape[1])
        product_LP = torch.mm(latents_BL.t(), rows_BP, out=self.buffer("weight gradient", shape))
        if add:
            gradient_LP.add_(product_LP)
        else:
            gradient_LP.copy_(product_LP)


def gradient_of(parameter: torch.nn.Parameter) -> Tensor:
    """The parameter's `.grad`, made where it is not there yet; contents are to be overwritten."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    return parameter.grad
