"""Held-out rows encoded once: what each latent and each group of rows adds up to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.analysis.groups import Cells
from pipeline.analysis.heldout import (
    MAX_UNITS,
    Floats,
    Ints,
    Units,
    Window,
    as_float,
    spread_blocks,
)
from pipeline.crosscoder import Crosscoder
from pipeline.distributed import Ranks
from pipeline.store import StoreReader

SERIES = ("base", "it", "difference")


REFERENCE_MEAN_ROWS = 4096
"""Rows behind the mean in the reference's per-token EV: its own batch size."""


def spread_mean(reader: StoreReader, device: torch.device) -> Tensor:
    """[M, D] mean of REFERENCE_MEAN_ROWS rows spread over the store."""
    blocks = spread_blocks(reader.n_rows, REFERENCE_MEAN_ROWS, REFERENCE_MEAN_ROWS // 16)
    rows = [as_float(reader.read("activations", start, stop), device) for start, stop in blocks]
    return torch.cat(rows).double().mean(dim=0).float()


@dataclass(frozen=True)
class HeldoutSums:
    """Sums over the window. Squares and errors are in raw units, about `mean_KD`.

    n_UC rows; n_active_UC active (row, latent) pairs
    error_UCK: ||x - x_hat||^2; total_UCK: ||x - mean||^2
    reference_ev_UCM: sums of the reference's per-token EV; reference_ev_UC the same for both models
    n_fired_CL, sum_fired_CL: rows and sum of values with latent active; max_L its largest value
    mean_KD: global mean of the window
    """

    n_UC: Floats
    n_active_UC: Floats
    error_UCK: Floats
    total_UCK: Floats
    reference_ev_UCM: Floats
    reference_ev_UC: Floats
    n_fired_CL: Ints
    sum_fired_CL: Floats
    max_L: Floats
    mean_KD: Floats
    activation_scale_M: Floats
    cells: Cells

    @property
    def n_rows(self) -> int:
        return int(self.n_UC.sum())


class _Sums:
    """The accumulators of the pass, on the device, in float64. n_units: of all rows"""

    def __init__(
        self, crosscoder: Crosscoder, shift_MD: Tensor, cells: Cells, n_units: int
    ) -> None:
        device, d_model, L = shift_MD.device, shift_MD.shape[1], crosscoder.n_latents
        self.crosscoder, self.cells = crosscoder, cells
        self.shift_KD = torch.stack([*shift_MD, shift_MD[1] - shift_MD[0]])
        self.n_units = n_units
        n = MAX_UNITS * cells.n

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        self.figures = zeros(n, 2 + 2 * len(SERIES) + 3)
        self.sum_KD = zeros(n, len(SERIES), d_model)
        self.n_fired, self.sum_fired = zeros(cells.n, L), zeros(cells.n, L)
        self.max = torch.zeros(L, device=device)

    def add(self, x_raw: Tensor, cell_B: Tensor, unit_B: Tensor) -> None:
        """Add rows x_raw [B, M, D]."""
        x = self.crosscoder.normalise(x_raw)
        f = self.crosscoder.encode(x)
        x_hat = self.crosscoder.decode(f)
        key = unit_B * self.cells.n + cell_B
        self._add_errors(key, x_raw, x, x_hat, (f > 0).sum(dim=1))
        for cell in cell_B.unique():
            in_cell = f[cell_B == cell]
            self.n_fired[cell] += (in_cell > 0).sum(dim=0)
            self.sum_fired[cell] += in_cell.sum(dim=0, dtype=torch.float64)
        self.max = torch.maximum(self.max, f.amax(dim=0))

    def _add_errors(
        self, key: Tensor, x_raw: Tensor, x: Tensor, x_hat: Tensor, n_active: Tensor
    ) -> None:
        centred = with_difference(x_raw) - self.shift_KD
        error = with_difference(x_raw - self.crosscoder.denormalise(x_hat))
        mean = self.crosscoder.normalise(self.shift_KD[None, :2])
        token_error_BM = (x - x_hat).square().sum(dim=2)
        token_total_BM = (x - mean).square().sum(dim=2)
        ev_BM = 1 - token_error_BM / token_total_BM
        ev_B = 1 - token_error_BM.sum(dim=1) / token_total_BM.sum(dim=1)
        figures = torch.cat(
            [
                torch.ones_like(n_active)[:, None],
                n_active[:, None],
                error.square().sum(dim=2),
                centred.square().sum(dim=2),
                ev_BM,
                ev_B[:, None],
            ],
            dim=1,
        )
        self.figures.index_add_(0, key, figures.double())
        self.sum_KD.index_add_(0, key, centred.double())

    def reduce(self, ranks: Ranks) -> None:
        """Add up what all processes have."""
        ranks.sum(self.figures, self.sum_KD, self.n_fired, self.sum_fired)
        ranks.largest(self.max)

    def finish(self) -> HeldoutSums:
        """Move the squares from the shift to the global mean and hand everything out."""
        U, C, K = self.n_units, self.cells.n, len(SERIES)
        n = self.figures[:, 0]
        offset_KD = self.sum_KD.sum(dim=0) / n.sum()
        total = (
            self.figures[:, 2 + K : 2 + 2 * K]
            - 2 * (self.sum_KD * offset_KD).sum(dim=2)
            + n[:, None] * offset_KD.square().sum(dim=1)
        )

        def cells(values: Tensor) -> Floats:
            return values[: U * C].reshape(U, C, *values.shape[1:]).cpu().numpy()

        return HeldoutSums(
            n_UC=cells(n),
            n_active_UC=cells(self.figures[:, 1]),
            error_UCK=cells(self.figures[:, 2 : 2 + K]),
            total_UCK=cells(total),
            reference_ev_UCM=cells(self.figures[:, 2 + 2 * K : 4 + 2 * K]),
            reference_ev_UC=cells(self.figures[:, 4 + 2 * K]),
            n_fired_CL=self.n_fired.long().cpu().numpy(),
            sum_fired_CL=self.sum_fired.cpu().numpy(),
            max_L=(self.max.double() + 0.0).cpu().numpy(),  # + 0.0: no minus zero
            mean_KD=(self.shift_KD + offset_KD).cpu().numpy(),
            activation_scale_M=self.crosscoder.activation_scale.double().cpu().numpy(),
            cells=self.cells,
        )


def with_difference(x_BMD: Tensor) -> Tensor:
    """[B, K, D]: base, IT, IT - base."""
    return torch.cat([x_BMD, x_BMD[:, 1:] - x_BMD[:, :1]], dim=1)


@torch.inference_mode()
def heldout_pass(crosscoder: Crosscoder, window: Window, *, n_sequences: int) -> HeldoutSums:
    """Every sum the evaluation needs, in one pass; each of several processes gets all sums.

    n_sequences: about how many sequences the window holds; they share at most MAX_UNITS units
    """
    device = crosscoder.W_dec.device
    units = Units(max(1, n_sequences))
    for block in window.blocks:
        units.of(window.reader.read("sequence", *block))  # numbered in order, whoever adds the rows
    sums = _Sums(crosscoder, spread_mean(window.reader, device), Cells.of(window.reader), units.n)
    for rows in window.batches(device, "evaluate", "source", "token_class", "sequence"):
        unit = units.of(rows.columns["sequence"])
        sums.add(rows.x, *(torch.from_numpy(a).to(device) for a in (rows.cells, unit)))
    sums.reduce(window.ranks)
    return sums.finish()
