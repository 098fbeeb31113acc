"""One pass over held-out rows: what each change carries, and what either model writes for it.

A change j puts c_j,t = sum over its lines of f direction into the model of the difference. Leaving
it out adds, with r_t what the whole model leaves of the difference,

    C_j = sum_t (2 <c_j,t, r_t> + |c_j,t|^2)

to the squared error; its share of the difference is C_j / sum_t |Delta_t|^2. Two more
changes hold on every row and need no line: a shift of the mean, and of the scale.

With the change's direction e_j (its lines', weighted by what they carry) and h_j,t = <c_j,t, e_j>,
what model m writes for it is the least-squares u_m,j = sum_t h (x_m,t - mean_m) / sum_t h^2. Sums
are kept per block of documents: tests and intervals follow from them.

Letters: B rows, M models (base, IT), D d_model, L lines, J changes, G blocks of documents,
S signs of h (with the direction, against it).
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.changes.lines import BASE, IT, STRONG, Lines, code, differences
from pipeline.analysis.heldout import as_float, spread_blocks
from pipeline.config.changes import ChangesConfig
from pipeline.distributed import ALONE, Ranks
from pipeline.progress import Progress
from pipeline.stage import CHANGES

Floats = NDArray[np.float64]
WITH, AGAINST = 0, 1


@dataclass(frozen=True)
class WrittenSums:
    """What the models write on the rows of changes that have a direction e, per block of documents.

    effort_GJ: sum h^2; written_GJMD: sum h (x_m - mean_m)
    away_GJM: sum |x_m - mean_m|^2 over the rows on which the change acts
    signed_square_GJS: sum h^2 by sign; along_GJMS: sum h <x_m - mean_m, e> by sign
    """

    effort_GJ: Floats
    written_GJMD: Floats
    away_GJM: Floats
    signed_square_GJS: Floats
    along_GJMS: Floats


@dataclass(frozen=True)
class ChangeSums:
    """Sums per block of documents, in raw units. J counts the shifts of mean and scale last.

    n_G: rows; total_G: sum |Delta|^2; left_G: sum |r|^2
    carried_GJ: C_j; square_GJ: sum |c|^2; n_active_GJ: rows on which the change acts
    written: of the changes with lines alone, the first J - 2, on rows where they are strong
    """

    n_G: Floats
    total_G: Floats
    left_G: Floats
    carried_GJ: Floats
    square_GJ: Floats
    n_active_GJ: Floats
    written: WrittenSums


@dataclass(frozen=True)
class Activity:
    """Of a batch of rows: f [B, L], c [B, J, D] is never held; h [B, J] along each direction."""

    f_BL: Tensor
    h_BJ: Tensor
    left_BD: Tensor


class Changes:
    """Lines, and the direction of each change: that of its lines, each by what it carries."""

    def __init__(self, lines: Lines) -> None:
        self.lines, self.n = lines, lines.n_changes
        member_JL = torch.zeros(self.n, len(lines.direction_LD), device=lines.shift_D.device)
        member_JL[lines.change_L, torch.arange(len(lines.change_L))] = 1
        self.member_JL = member_JL
        leader_L = member_JL.float().argmax(dim=1)[lines.change_L] if self.n else lines.change_L
        leading_LD = lines.direction_LD[leader_L]
        self.sign_L = (lines.direction_LD * leading_LD).sum(dim=1).sign()
        signed_LD = self.sign_L[:, None] * lines.direction_LD
        self.direction_JD = torch.nn.functional.normalize(
            (member_JL * lines.weight_L) @ signed_LD, dim=1
        )
        square_J = (member_JL @ lines.weight_L).clamp_min(1e-30)
        self.strong_J = STRONG * (member_JL @ lines.fourth_L / square_J).sqrt()
        self.along_L = (lines.direction_LD * self.direction_JD[lines.change_L]).sum(dim=1)

    @classmethod
    def found(cls, device: torch.device) -> "Changes":
        """What this run has found."""
        return cls(Lines.load(CHANGES).to(device))

    def activity(self, x_BMD: Tensor, section: ChangesConfig) -> Activity:
        f_BL, left_BD = code(self.lines, x_BMD, section)
        return Activity(f_BL, (f_BL * self.along_L) @ self.member_JL.T, left_BD)

    def contribution(self, f_BL: Tensor, change: int) -> tuple[Tensor, Tensor]:
        """Rows [N] on which a change acts, and what it puts there [N, D]."""
        own = (self.lines.change_L == change).nonzero()[:, 0]
        rows = (f_BL[:, own] != 0).any(dim=1).nonzero()[:, 0]
        return rows, f_BL[rows][:, own] @ self.lines.direction_LD[own]


class Written:
    """Accumulates WrittenSums over batches of rows."""

    def __init__(self, direction_JD: Tensor, n_blocks: int) -> None:
        self._direction_JD = direction_JD
        J, D = direction_JD.shape

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(n_blocks, J, *shape, dtype=torch.float64, device=direction_JD.device)

        self._effort, self._written, self._away = zeros(), zeros(2, D), zeros(2)
        self._signed_square, self._along = zeros(2), zeros(2, 2)

    def add(self, h_BJ: Tensor, centred_BMD: Tensor, block_B: Tensor) -> None:
        """Add rows less the models' means. Only active pairs of row and change are touched."""
        row_N, change_N = h_BJ.nonzero(as_tuple=True)
        h_N = h_BJ[row_N, change_N].double()
        key_N = block_B[row_N] * h_BJ.shape[1] + change_N
        signed_N = key_N * 2 + (h_N < 0).long()
        _add(self._effort, key_N, h_N.square())
        _add(self._signed_square, signed_N, h_N.square())
        for model in (BASE, IT):
            rows_ND = centred_BMD[row_N, model].double()
            along_N = (rows_ND * self._direction_JD[change_N]).sum(dim=1)
            _add(self._written[:, :, model], key_N, h_N[:, None] * rows_ND)
            _add(self._away[:, :, model], key_N, rows_ND.square().sum(dim=1))
            _add(self._along[:, :, model], signed_N, h_N * along_N)

    def finish(self, ranks: Ranks = ALONE) -> WrittenSums:
        """The sums of all processes."""
        sums = (self._effort, self._written, self._away, self._signed_square, self._along)
        ranks.sum(*sums)
        return WrittenSums(*(tensor.cpu().numpy() for tensor in sums))


class _Running:
    """The accumulators, on the device, in float64."""

    def __init__(self, changes: Changes, section: ChangesConfig) -> None:
        self._changes, self._section = changes, section
        mean_MD = changes.lines.mean_MD
        G, J = section.n_blocks, changes.n

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(G, *shape, dtype=torch.float64, device=mean_MD.device)

        self.rows = zeros(3)  # 1, |Delta|^2, |r|^2
        self.carried, self.square, self.n_active = zeros(J + 2), zeros(J + 2), zeros(J + 2)
        self.written = Written(changes.direction_JD, G)

    def add(self, x_BMD: Tensor, block_B: Tensor) -> None:
        activity = self._changes.activity(x_BMD, self._section)
        delta_BD, left_BD = differences(x_BMD), activity.left_BD
        squares = (torch.ones(len(block_B)), delta_BD.square().sum(1), left_BD.square().sum(1))
        self.rows.index_add_(0, block_B, torch.stack([s.to(delta_BD) for s in squares], 1).double())
        lines = self._changes.lines
        away_BD = x_BMD[:, BASE] - lines.mean_MD[BASE]
        every = torch.arange(len(block_B), device=block_B.device)
        for change in range(self._changes.n):
            rows, c_ND = self._changes.contribution(activity.f_BL, change)
            self._carry(change, rows, c_ND, left_BD, block_B)
        self._carry(self._changes.n, every, lines.shift_D.expand_as(delta_BD), left_BD, block_B)
        self._carry(self._changes.n + 1, every, lines.scale * away_BD, left_BD, block_B)
        h_BJ = activity.h_BJ
        strong_BJ = torch.where(h_BJ.abs() > self._changes.strong_J, h_BJ, 0)
        self.written.add(strong_BJ, x_BMD - lines.mean_MD, block_B)

    def _carry(
        self, change: int, rows: Tensor, c_ND: Tensor, left_BD: Tensor, block_B: Tensor
    ) -> None:
        square_N = c_ND.square().sum(dim=1).double()
        product_N = (c_ND * left_BD[rows]).sum(dim=1).double()
        block_N = block_B[rows]
        self.carried[:, change].index_add_(0, block_N, 2 * product_N + square_N)
        self.square[:, change].index_add_(0, block_N, square_N)
        self.n_active[:, change].index_add_(0, block_N, (square_N > 0).double())

    def finish(self, ranks: Ranks) -> ChangeSums:
        """The sums of all processes."""
        ranks.sum(self.rows, self.carried, self.square, self.n_active)
        n_G, total_G, left_G = self.rows.cpu().numpy().T
        return ChangeSums(
            n_G=n_G,
            total_G=total_G,
            left_G=left_G,
            carried_GJ=self.carried.cpu().numpy(),
            square_GJ=self.square.cpu().numpy(),
            n_active_GJ=self.n_active.cpu().numpy(),
            written=self.written.finish(ranks),
        )


def _add(target: Tensor, key_N: Tensor, value_N: Tensor) -> None:
    """Add to the entries of `target` [*keys, *shape of a value] that the flat keys name, in place;
    `target` may be a view that is not contiguous."""
    n_keys = target.numel() // value_N[0].numel() if len(value_N) else 0
    if n_keys:
        total = torch.zeros(n_keys, *value_N.shape[1:], dtype=target.dtype, device=target.device)
        target += total.index_add_(0, key_N, value_N).view(target.shape)


class RowReader(Protocol):
    """A store of rows, or what reads like one."""

    @property
    def n_rows(self) -> int: ...
    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]: ...


@torch.inference_mode()
def measure(
    changes: Changes, reader: RowReader, section: ChangesConfig, ranks: Ranks = ALONE
) -> ChangeSums:
    """The sums over `n_rows` held-out rows, of which several processes take batches in turns."""
    running, device = _Running(changes, section), changes.lines.mean_MD.device
    blocks = spread_blocks(reader.n_rows, section.n_rows, section.batch_rows)
    blocks = blocks[ranks.rank :: ranks.size]
    total = sum(stop - start for start, stop in blocks)
    with Progress("changes_measure", total=total, unit="rows") as progress:
        for start, stop in blocks:
            x_BMD = as_float(reader.read("activations", start, stop), device)
            block = torch.from_numpy(reader.read("document", start, stop) % section.n_blocks)
            running.add(x_BMD, block.to(device))
            progress.advance(stop - start)
    return running.finish(ranks)
