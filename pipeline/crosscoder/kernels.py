"""Triton kernels for the products at the active pairs, on a CUDA card.

They read whole lines of the weights, and several entries' at once so that one reads while another
arrives; they add in float32 in a fixed order, so that a run gives the same bits every time, and
write straight to the type of the result. PyTorch's own embedding_bag adds in the type of the rows.
With TRITON_INTERPRET=1 they run, slowly, on a CPU.

Letters: G bags, N entries, P width of a row.
"""
# Triton is optional, and a kernel is no plain function: launched as kernel[grid](...).
# pyright: reportMissingImports=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

ENTRIES, BLOCK = 32, 128
"""Entries and columns of a tile. Chosen by arithmetic (32 lines of 256 bytes under way in bf16);
not tuned on a card yet."""


def bags_into(
    out_GP: Tensor,
    index_N: Tensor,
    rows: Tensor,
    start_G: Tensor,
    weights_N: Tensor,
    *,
    add: bool = False,
) -> None:
    """Sum of weights_N * rows[index_N] over each run of entries that start_G begins, into out_GP,
    or added to what is there."""
    assert out_GP.is_contiguous()
    assert rows.is_contiguous()
    n_bags, width = out_GP.shape
    if n_bags == 0:
        return
    grid = (n_bags, triton.cdiv(width, BLOCK))
    _bags[grid](
        out_GP, index_N, rows, start_G, weights_N, len(index_N), n_bags, width, add, ENTRIES, BLOCK
    )


def dots(left_BP: Tensor, right_LP: Tensor, row_N: Tensor, latent_N: Tensor) -> Tensor:
    """<left[row_N], right[latent_N]> for each entry: [N], in the type of `left`."""
    assert left_BP.is_contiguous()
    assert right_LP.is_contiguous()
    n_entries, width = len(row_N), left_BP.shape[1]
    out_N = torch.empty(n_entries, dtype=left_BP.dtype, device=left_BP.device)
    if n_entries:
        grid = (triton.cdiv(n_entries, ENTRIES),)
        _dots[grid](out_N, left_BP, right_LP, row_N, latent_N, n_entries, width, ENTRIES, BLOCK)
    return out_N


@triton.jit
def _bags(
    out,
    index,
    rows,
    start,
    weights,
    n_entries,
    n_bags,
    width,
    ADD: tl.constexpr,
    ENTRIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    bag = tl.program_id(0).to(tl.int64)  # bag * width can pass 2^31
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    first = tl.load(start + bag)
    last = tl.load(start + bag + 1, mask=bag + 1 < n_bags, other=n_entries)
    sums = tl.zeros((BLOCK,), tl.float32)
    for at in range(first, last, ENTRIES):
        entry = at + tl.arange(0, ENTRIES)
        there = entry < last
        row = tl.load(index + entry, mask=there, other=0)
        weight = tl.load(weights + entry, mask=there, other=0.0).to(tl.float32)
        wanted = there[:, None] & inside[None, :]
        tile = tl.load(rows + row[:, None] * width + columns[None, :], mask=wanted, other=0.0)
        sums += tl.sum(weight[:, None] * tile.to(tl.float32), 0)
    place = out + bag * width + columns
    if ADD:
        sums += tl.load(place, mask=inside, other=0.0).to(tl.float32)
    tl.store(place, sums.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _dots(
    out,
    left,
    right,
    row,
    latent,
    n_entries,
    width,
    ENTRIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    entry = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    there = entry < n_entries
    at_left = tl.load(row + entry, mask=there, other=0) * width
    at_right = tl.load(latent + entry, mask=there, other=0) * width
    sums = tl.zeros((ENTRIES,), tl.float32)
    for first in range(0, width, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        wanted = there[:, None] & (columns < width)[None, :]
        one = tl.load(left + at_left[:, None] + columns[None, :], mask=wanted, other=0.0)
        other = tl.load(right + at_right[:, None] + columns[None, :], mask=wanted, other=0.0)
        sums += tl.sum(one.to(tl.float32) * other.to(tl.float32), 1)
    tl.store(out + entry, sums.to(out.dtype.element_ty), mask=there)
