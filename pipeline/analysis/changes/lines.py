"""What rows are read by: the directions that differences lie along, and how far each row does.

    h_it - h_base = shift + faint + scale (x_base - mean_base) + sum over lines f direction + rest

A *narrow* line acts on the few rows that lie close to it (`search.py` finds it), a *broad* one on
every row, in proportion to what base has there (`broad.py`). Lines whose directions coincide,
either way round, are one change. The mean's shift is either a change of its own, `shift`, or what
narrow lines write faintly on every row, `faint` (`everywhere.py`).

Letters: T rows, D d_model, L lines, N narrow lines, K broad lines, J changes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from pipeline.config.changes import ChangesConfig

LINES_FILE = "lines.safetensors"
BASE, IT = 0, 1
STEP_EXPONENT = 2.0**-7
"""bfloat16 has 8 significant bits: neighbours of x are 2^-7 of the power of 2 at or below |x| apart
at most."""
NOISE_STEPS = 2.0
"""Rounding alone moves a row less far than so many steps in every coordinate: weights rounded to
bfloat16 at random move 0.999 of `tiny`'s rows less than 0.9 steps, none more than 1.2."""
STRONG = 0.5
"""A change is strong on rows where |h| is above this share of its level. Rows on which it is faint,
or where something else happens to lie a little along it, are many, and each counts in full for what
its rows have in common: what the models write is read where the change is strong."""
MAX_DEVIATION = 3.0
"""Deviations of a row from a broad line's map, in units of their spread, that still count for the
line: what goes beyond is another change's."""


@dataclass(frozen=True)
class Lines:
    """What rows are read by. In raw units.

    mean_MD: of the models' rows
    shift_D, faint_D, scale: what holds on every row, shift + faint + scale (x_base - mean_base),
    beside broad lines; the shift is a change of its own, the faint part belongs to narrow lines
    direction_LD: unit vectors, narrow lines first; change_L: the change that each line belongs to,
    0 to J - 1
    reader_KD, offset_K: what a broad line expects of a row, offset + <reader, x_base - mean_base>;
    spread_K: of what rows have along it beside that
    weight_L, fourth_L: sums of f^2 and f^4 along each line
    """

    mean_MD: Tensor
    shift_D: Tensor
    faint_D: Tensor
    scale: Tensor
    direction_LD: Tensor
    change_L: Tensor
    reader_KD: Tensor
    offset_K: Tensor
    spread_K: Tensor
    weight_L: Tensor
    fourth_L: Tensor

    def away(self, x_TMD: Tensor) -> Tensor:
        """[T, D] base's rows about their mean."""
        return x_TMD[:, BASE] - self.mean_MD[BASE]

    def everywhere(self, x_TMD: Tensor) -> Tensor:
        """[T, D] what holds on every row."""
        return self.shift_D + self.faint_D + self.scale * self.away(x_TMD)

    @property
    def n_narrow(self) -> int:
        return len(self.direction_LD) - len(self.reader_KD)

    @property
    def level_L(self) -> Tensor:
        """[L] (sum f^4 / sum f^2)^0.5: the level of an f that is either 0 or at one level."""
        return (self.fourth_L / self.weight_L.clamp_min(1e-30)).sqrt()

    @property
    def broad_changes(self) -> list[int]:
        """Numbers of the changes that are broad lines."""
        return self.change_L[self.n_narrow :].tolist()

    @property
    def n_changes(self) -> int:
        return int(self.change_L.max()) + 1 if len(self.change_L) else 0

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        tensors = {name: t.cpu().contiguous() for name, t in vars(self).items()}
        save_file(tensors, folder / LINES_FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        from safetensors.torch import load_file

        return cls(**load_file(folder / LINES_FILE))

    def to(self, device: torch.device) -> Self:
        return type(self)(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def differences(x_TMD: Tensor) -> Tensor:
    """[T, D] h_it - h_base."""
    return x_TMD[:, IT] - x_TMD[:, BASE]


def differs(x_TMD: Tensor) -> Tensor:
    """[T] whether rows differ by more than rounding does: whether the difference is longer than
    NOISE_STEPS steps of bfloat16 in every coordinate. (Asked coordinate by coordinate, those near
    0, whose steps are tiny, would always differ.)"""
    size_TD = x_TMD.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    step_TD = STEP_EXPONENT * 2.0 ** size_TD.log2().floor()
    least_T = NOISE_STEPS**2 * step_TD.square().sum(dim=1)
    return differences(x_TMD).square().sum(dim=1) > least_T


def code(lines: Lines, x_TMD: Tensor, section: ChangesConfig) -> tuple[Tensor, Tensor]:
    """How far each row lies along each line, f [T, L], and what is left of its difference [T, D]:
    everywhere + f direction + left = h_it - h_base. f >= 0 along narrow lines.

    Narrow lines by matching pursuit: at most `max_lines` times the line with the largest product,
    if its cosine with what is left reaches `min_cosine`. Broad lines then take of what is left what
    they expect of the row, and what it has beside that within MAX_DEVIATION spreads.
    """
    broad_KD = lines.direction_LD[lines.n_narrow :]
    left_TD = differences(x_TMD) - lines.everywhere(x_TMD) - lines.offset_K @ broad_KD
    narrow_TN, left_TD = _pursue(lines.direction_LD[: lines.n_narrow], left_TD, x_TMD, section)
    away_TD, broad = lines.away(x_TMD), [narrow_TN]
    for direction_D, reader_D, offset, spread in zip(
        broad_KD, lines.reader_KD, lines.offset_K, lines.spread_K, strict=True
    ):
        f_T = broad_code(left_TD, away_TD, direction_D, reader_D, spread)
        left_TD = left_TD - f_T[:, None] * direction_D
        broad.append((offset + f_T)[:, None])
    return torch.cat(broad, dim=1), left_TD


def broad_code(
    left_TD: Tensor, away_TD: Tensor, direction_D: Tensor, reader_D: Tensor, spread: Tensor
) -> Tensor:
    """[T] how far rows lie along a broad line, less its offset."""
    expected_T, reach = away_TD @ reader_D, MAX_DEVIATION * spread
    return expected_T + (left_TD @ direction_D - expected_T).clamp(-reach, reach)


def _pursue(
    direction_ND: Tensor, left_TD: Tensor, x_TMD: Tensor, section: ChangesConfig
) -> tuple[Tensor, Tensor]:
    f_TN = left_TD.new_zeros(len(left_TD), len(direction_ND))
    if not len(direction_ND):
        return f_TN, left_TD
    changed_T, row_T = differs(x_TMD), torch.arange(len(left_TD), device=left_TD.device)
    for _ in range(section.max_lines):
        product_T, line_T = (left_TD @ direction_ND.T).max(dim=1)
        along_T = changed_T & (product_T > section.min_cosine * left_TD.norm(dim=1))
        step_T = torch.where(along_T, product_T, 0)
        f_TN[row_T, line_T] += step_T
        left_TD = left_TD - step_T[:, None] * direction_ND[line_T]
    return f_TN, left_TD
