"""What holds on every row: a shift of the mean, and of the scale.

Both are read off the half of the rows that agree best on them, because a change on some rows is no
shift of all (least trimmed squares: Rousseeuw 1984, Journal of the American Statistical Association
79).

But a neuron that writes a new direction where it fires writes a little of it everywhere else, and a
weight that was altered for some inputs does a little at all others. Several such changes move the
mean of all rows together. Where the narrow lines make up most of a shift, each with no more than it
would count as faint on a row, the shift is theirs and no change beside them.

Letters: T rows, M models (base, IT), D d_model, N narrow lines.
"""

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.analysis.changes.lines import BASE, STRONG, Lines, differences, differs

TRIMMINGS = 10
"""Rounds in which the rows that agree best on a shift are chosen anew."""
MOST = 0.5
"""Share of a shift's square that narrow lines make up together, from which on it is theirs."""


def on_every_row(x_TMD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means of the models [M, D], and the shift [D] and scale that hold on every row. Both are 0
    where most rows do not differ."""
    mean_MD, delta_TD = x_TMD.mean(dim=0), differences(x_TMD)
    scale = delta_TD.new_zeros(())
    if float(differs(x_TMD).float().mean()) < 0.5:
        return mean_MD, torch.zeros_like(mean_MD[BASE]), scale
    away_TD = x_TMD[:, BASE] - mean_MD[BASE]
    shift_D = delta_TD.median(dim=0).values
    for _ in range(TRIMMINGS):
        distance_T = (delta_TD - shift_D - scale * away_TD).square().sum(dim=1)
        kept = distance_T <= distance_T.median()
        centre_D, square = away_TD[kept].mean(dim=0), away_TD[kept].square().sum()
        product = ((delta_TD[kept] - delta_TD[kept].mean(dim=0)) * away_TD[kept]).sum()
        n_kept = kept.sum()
        scale = product / (square - n_kept * centre_D.square().sum()).clamp_min(1e-30)
        shift_D = delta_TD[kept].mean(dim=0) - scale * centre_D
    return mean_MD, shift_D, scale


def with_own_shift(lines: Lines, min_cosine: float) -> Lines:
    """The lines, and the shift where it should be: a change of its own, or the narrow lines'."""
    left_D = _left_of_shift(lines, min_cosine)
    if float(left_D.square().sum()) > (1 - MOST) * float(lines.shift_D.square().sum()):
        return lines
    return replace(lines, shift_D=torch.zeros_like(left_D), faint_D=lines.shift_D)


def _left_of_shift(lines: Lines, min_cosine: float) -> Tensor:
    """[D] what the narrow lines leave of the shift, read as a row is: the line with the largest
    product, either way round, while its cosine with what is left reaches `min_cosine`; of each line
    at most STRONG of its level, and once."""
    direction_ND = lines.direction_LD[: lines.n_narrow]
    reach_N, left_D = STRONG * lines.level_L[: lines.n_narrow], lines.shift_D
    free_N = torch.ones_like(reach_N)
    for _ in range(len(direction_ND)):
        product_N = free_N * (direction_ND @ left_D)
        line = int(product_N.abs().argmax())
        if float(product_N[line].abs()) <= min_cosine * float(left_D.norm()):
            break
        step = product_N[line].clamp(-reach_N[line], reach_N[line])
        left_D = left_D - step * direction_ND[line]
        free_N[line] = 0
    return left_D
