"""The changes on rows of our choosing: what each puts into the difference there.

Letters: B rows, M models (base, IT), D d_model, L lines of all changes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.analysis.changes.measure import BASE, Changes
from pipeline.config.changes import ChangesConfig


@dataclass(frozen=True)
class Rows:
    """Rows of both models x_BMD in float32, raw units, and the lines that act on them f_BL."""

    x_BMD: Tensor
    f_BL: Tensor


class ChangeRows:
    """The lines of all changes on given rows."""

    def __init__(self, changes: Changes, section: ChangesConfig) -> None:
        self.changes, self._section = changes, section

    @property
    def d_model(self) -> int:
        return len(self.changes.lines.shift_D)

    def __call__(self, x_BMD: Tensor) -> Rows:
        return Rows(x_BMD, self.changes.activity(x_BMD, self._section).f_BL)

    def part(self, rows: Rows, change: int) -> Tensor:
        """[B, D] what the change puts into the difference of each row. The shifts of the mean and
        of the scale follow the changes that have lines."""
        lines = self.changes.lines
        if change == self.changes.n:
            return lines.shift_D.expand_as(rows.x_BMD[:, 0])
        if change == self.changes.n + 1:
            return lines.scale * (rows.x_BMD[:, BASE] - lines.mean_MD[BASE])
        acting, part_ND = self.changes.contribution(rows.f_BL, change)
        return torch.zeros_like(rows.x_BMD[:, 0]).index_copy_(0, acting, part_ND)

    def direction(self, change: int) -> Tensor | None:
        """Its unit vector [D]; None for the shift of the scale, which has none."""
        if change < self.changes.n:
            return self.changes.direction_JD[change]
        shift = self.changes.lines.shift_D
        return torch.nn.functional.normalize(shift, dim=0) if change == self.changes.n else None
