"""A Triton kernel for Adam on a CUDA card: one pass over a parameter, its copy in another type
included.

PyTorch's fused kernel writes the gradient back wherever it scales it; this one scales it on its way
and leaves it as it is. With TRITON_INTERPRET=1 it runs, slowly, on a CPU.
"""
# Triton is optional, and a kernel is no plain function: launched as kernel[grid](...).
# pyright: reportMissingImports=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
"""Weights of a program. Chosen by arithmetic (8 of each tensor a thread); not tuned on a card."""


def update(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    copy: Tensor | None,
    *,
    divisor: Tensor | None,
    unbias: Tensor,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Move a parameter by its gradient over the divisor, and its moments (all float32, of one
    shape); write what the parameter then rounds to into the copy.

    divisor: a scalar, None for 1; unbias: [2], what the moments' averages are short of, 1 - beta^t
    """
    tensors = [parameter, gradient, mean, square]
    assert all(t.dtype == torch.float32 for t in tensors)
    assert all(t.is_contiguous() for t in [*tensors, *([] if copy is None else [copy])])
    n, (beta1, beta2) = parameter.numel(), betas
    _adam[(triton.cdiv(n, BLOCK),)](
        *tensors,
        copy,
        divisor,
        unbias,
        n,
        learning_rate,
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        epsilon,
        BLOCK,
    )


@triton.jit
def _adam(
    parameter,
    gradient,
    mean,
    square,
    copy,
    divisor,
    unbias,
    n,
    learning_rate,
    keep_mean,
    take_mean,
    keep_square,
    take_square,
    epsilon,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # n can pass 2^31
    inside = at < n
    g = tl.load(gradient + at, mask=inside, other=0.0)
    if divisor is not None:
        g = tl.div_rn(g, tl.load(divisor))
    m = keep_mean * tl.load(mean + at, mask=inside, other=0.0) + take_mean * g
    v = keep_square * tl.load(square + at, mask=inside, other=0.0) + take_square * g * g
    tl.store(mean + at, m, mask=inside)
    tl.store(square + at, v, mask=inside)
    step = learning_rate / tl.load(unbias)
    width = tl.sqrt_rn(v) / tl.sqrt_rn(tl.load(unbias + 1)) + epsilon
    p = tl.load(parameter + at, mask=inside, other=0.0) - tl.div_rn(step * m, width)
    tl.store(parameter + at, p, mask=inside)
    if copy is not None:
        tl.store(copy + at, p.to(copy.dtype.element_ty), mask=inside)
