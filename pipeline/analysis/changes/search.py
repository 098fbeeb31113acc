"""The search for lines.

A change writes one direction on few rows, so difference rows crowd along few lines through the
origin, and a line is found where they crowd most: from rows drawn by their squared norm, the
weighted power iteration

    a <- normalise( sum_t |r_t| cos_t^(q-1) r_t ),   cos_t = max(0, <r_t, a>) / |r_t|

climbs to a direction that maximises sum_t |r_t|^2 cos_t^q. With q = 2 this is the principal
component of a half space, which mixes the changes that rows share; a larger q counts the rows that
lie close to one line, and finds single ones (the contrast of independent component analysis with
q = 4: Hyvarinen 1999, IEEE Transactions on Neural Networks 10). The line is then taken off its
rows (matching pursuit: Mallat and Zhang 1993, IEEE Transactions on Signal Processing 41) and the
next one is looked for in what remains, until none explains enough.

Lines whose directions coincide, either way round, are one change.

Letters: T rows, D d_model, L lines, J changes, K starts.
"""

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.analysis.changes.broad import with_broad_lines
from pipeline.analysis.changes.everywhere import on_every_row, with_own_shift
from pipeline.analysis.changes.lines import Lines, code, differences, differs
from pipeline.config.changes import ChangesConfig
from pipeline.progress import Progress

UNCHANGED = 0.02
"""Rows whose difference has less than this share of the mean squared norm start no search."""
PATIENCE = 4
"""Draws of starts without a line that explains enough, after which the search ends."""


@torch.inference_mode()
def find_lines(x_TMD: Tensor, section: ChangesConfig, random: torch.Generator) -> Lines:
    """The lines of rows x [T, base and IT, D], by falling share of the difference."""
    mean_MD, shift_D, scale = on_every_row(x_TMD)
    none_L = torch.zeros(0, device=x_TMD.device)
    none_LD = x_TMD.new_zeros(0, x_TMD.shape[2])
    none: dict[str, Tensor] = {
        "direction_LD": none_LD,
        "change_L": none_L.long(),
        "reader_KD": none_LD,
        **dict.fromkeys(("offset_K", "spread_K", "weight_L", "fourth_L"), none_L),
    }
    lines = Lines(mean_MD, shift_D, torch.zeros_like(shift_D), scale, **none)
    delta_TD = differences(x_TMD)
    rest_TD = (delta_TD - lines.everywhere(x_TMD))[differs(x_TMD)]
    direction_LD = _modes(rest_TD, float(delta_TD.square().sum()), section, random)
    change_L = _coinciding(direction_LD, section.same_cosine)
    lines = replace(lines, direction_LD=direction_LD, change_L=change_L)
    lines = with_broad_lines(lines, x_TMD, section)
    weight_L, fourth_L = torch.zeros(2, len(lines.change_L), device=x_TMD.device)
    for part in x_TMD.split(section.batch_rows):
        f_TL = code(lines, part, section)[0]
        weight_L += f_TL.square().sum(dim=0)
        fourth_L += f_TL.pow(4).sum(dim=0)
    lines = replace(lines, weight_L=weight_L, fourth_L=fourth_L)
    return with_own_shift(lines, section.min_cosine)


def _modes(
    rest_TD: Tensor, total: float, section: ChangesConfig, random: torch.Generator
) -> Tensor:
    """[L, D] lines by falling density, each of which explains `min_gain` of the total."""
    found: list[Tensor] = []
    square_T = rest_TD.square().sum(dim=1)
    left_TD = rest_TD[square_T > UNCHANGED * square_T.mean()].clone()
    failures = 0 if len(left_TD) else PATIENCE
    with Progress("changes_find", total=section.max_changes, unit="lines") as progress:
        while len(found) < section.max_changes and failures < PATIENCE:
            norm_T = left_TD.norm(dim=1).clamp_min(1e-20)
            direction_D, gain = densest(left_TD, norm_T, section, random)
            if gain < section.min_gain * total:
                failures += 1
                continue
            failures = 0
            found.append(direction_D)
            product_T = left_TD @ direction_D
            along_T = torch.where(product_T > section.min_cosine * norm_T, product_T, 0)
            left_TD -= along_T[:, None] * direction_D
            progress.advance(1)
    return torch.stack(found) if found else rest_TD.new_zeros(0, rest_TD.shape[1])


def densest(
    left_TD: Tensor, norm_T: Tensor, section: ChangesConfig, random: torch.Generator
) -> tuple[Tensor, float]:
    """The best direction of `n_starts` climbs, and the squares it explains on rows that lie closest
    to it."""
    weight_T = norm_T.square().cpu()
    start_K = torch.multinomial(weight_T, section.n_starts, replacement=True, generator=random)
    start_K = start_K.to(left_TD.device)
    direction_KD = left_TD[start_K] / norm_T[start_K, None]
    for _ in range(section.n_iterations):
        cosine_TK = (left_TD @ direction_KD.T).clamp_min(0) / norm_T[:, None]
        pull_TK = norm_T[:, None] * cosine_TK ** (section.contrast - 1)
        direction_KD = torch.nn.functional.normalize(pull_TK.T @ left_TD, dim=1)
    product_TK = left_TD @ direction_KD.T
    close_TK = product_TK > section.close_cosine * norm_T[:, None]
    gain_K = torch.where(close_TK, product_TK, 0).square().sum(dim=0)
    best = int(gain_K.argmax())
    return direction_KD[best], float(gain_K[best])


def _coinciding(direction_LD: Tensor, same_cosine: float) -> Tensor:
    """[L] number of the change of each line: that of the first earlier line with which its
    direction coincides, or the next free number."""
    leaders: list[int] = []
    change = []
    for line in range(len(direction_LD)):
        cosines = (direction_LD[leaders] @ direction_LD[line]).abs()
        if len(leaders) and float(cosines.max()) > same_cosine:
            change.append(int(cosines.argmax()))
        else:
            change.append(len(leaders))
            leaders.append(line)
    return torch.tensor(change, dtype=torch.long, device=direction_LD.device)
