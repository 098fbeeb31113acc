"""Products at the active pairs, by gathering rows: PyTorch's own, or Triton kernels on a card.

Letters: G bags, N entries, P width of a row.
"""

import os
import shutil
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL_DTYPES = (torch.float32, torch.bfloat16)


def bags(index_N: Tensor, rows: Tensor, start_G: Tensor, weights_N: Tensor) -> Tensor:
    """Sum of weights_N * rows[index_N] over each run of entries that start_G begins: [G, P]."""
    if by_kernels(rows):
        out_GP = torch.empty(len(start_G), rows.shape[1], dtype=rows.dtype, device=rows.device)
        bags_into(out_GP, index_N, rows, start_G, weights_N)
        return out_GP
    return F.embedding_bag(index_N, rows, start_G, mode="sum", per_sample_weights=weights_N)


def bags_into(
    out_GP: Tensor,
    index_N: Tensor,
    rows: Tensor,
    start_G: Tensor,
    weights_N: Tensor,
    *,
    add: bool = False,
) -> None:
    """The same into memory of any type, or added to what is there. For rows that `by_kernels`
    takes."""
    from pipeline.crosscoder import kernels

    kernels.bags_into(out_GP, index_N, rows, start_G, weights_N, add=add)


def dots(
    left_BP: Tensor, right_LP: Tensor, row_N: Tensor, latent_N: Tensor, row_start_B: Tensor
) -> Tensor:
    """<left[row_N], right[latent_N]> for each entry: [N]. row_start_B: where a row's begin."""
    if by_kernels(left_BP):
        from pipeline.crosscoder import kernels

        return kernels.dots(left_BP, right_LP, row_N, latent_N)
    # embedding_bag's own backward for its weights: a dot product per entry, and no more.
    sum_mode = 0
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(
        left_BP, right_LP, latent_N, row_start_B, row_N, sum_mode
    )


def by_kernels(tensor: Tensor) -> bool:
    """Whether Triton kernels take a tensor: on a card, of a type they know, where Triton is."""
    return tensor.device.type == "cuda" and tensor.dtype in KERNEL_DTYPES and has_triton()


@cache
def has_triton() -> bool:
    """Whether Triton can be imported, which is optional and comes with the CUDA build of PyTorch,
    and finds what it builds its launcher with: a C compiler, and Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_config_var("INCLUDEPY"), "Python.h")
    return find_spec("triton") is not None and compiler is not None and headers.is_file()
