"""Which entries of a batch lie above a bound, and the bound that leaves k of them per row.

Letters: B rows of a batch, L latents, N entries.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from pipeline.distributed import ONE_PROCESS, Mesh


def positions_above(values_BL: Tensor, above: Tensor | float) -> Tensor:
    """Ascending flat positions [N] of the values above a bound, [L] or one number."""
    return positions(values_BL > above)


def on_cpu(tensor: Tensor) -> bool:
    """Whether the host reads the tensor's values without waiting for a device."""
    return tensor.device.type == "cpu"


def positions(mask: Tensor, n: int | None = None) -> Tensor:
    """Ascending flat positions [N] of what is true in a mask.

    n: how many there are, where the host knows it: a GPU then need not wait to be asked
    """
    if n is None or on_cpu(mask):
        return mask.flatten().nonzero().squeeze(1)
    return torch.nonzero_static(mask.flatten(), size=n).squeeze(1)


def calibrated_threshold(
    preactivations: Iterable[Tensor],
    norm_L: Tensor,
    k: int,
    *,
    max_rows: int,
    mesh: Mesh = ONE_PROCESS,
) -> Tensor:
    """The bound on scores pre * norm_L that leaves k of them per row on average over all given
    rows, of which there are at most `max_rows`: half-way from the last kept score to the next, or
    0 where fewer are positive. The batches [B, L] of preactivations are overwritten."""
    largest, floor, n_rows = norm_L.new_zeros(0), 0.0, 0
    n_enough = max_rows * k + 1
    for pre_BL in preactivations:
        n_rows += len(pre_BL)
        v_BL = pre_BL.mul_(norm_L)
        largest = torch.cat([largest, v_BL.flatten()[positions_above(v_BL, floor)]])
        if len(largest) > n_enough:
            # The last kept score and the next are all that is asked for: what lies below the
            # n_enough largest so far can be neither, and later batches need not offer it.
            largest = largest.topk(n_enough, sorted=False).values
            floor = float(largest.min())
    n_rows = mesh.rows.total(n_rows)
    assert n_rows <= max_rows
    n_kept = n_rows * k
    if mesh.all.total(len(largest)) <= n_kept:
        return largest.new_zeros(())
    edge = [mesh.all.kth_largest(largest, n) for n in (n_kept, n_kept + 1)]
    return torch.stack(edge).mean()
