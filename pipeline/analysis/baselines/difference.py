"""How much of h_it - h_base simple things explain: a mean, a mean per cell, a dictionary.

Letters: B rows, M models (base, IT), D d_model, C cells (see `cells`), U units of whole sequences,
K estimators.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.baselines.result import Explained, ExplainedOn, MeanDifference
from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.result import Patches
from pipeline.analysis.groups import Cells
from pipeline.analysis.heldout import MAX_UNITS, Units, Window
from pipeline.crosscoder import Crosscoder
from pipeline.results import Measured, rounded

Floats = NDArray[np.float64]

ESTIMATORS = ("zero", "mean", "cell_mean", "crosscoder", "diff_sae")
UNITS = {
    "explained": "1 - sum ||delta - estimate||^2 / sum ||delta||^2 over held-out rows, delta = "
    "h_it - h_base in raw units",
    "beyond_mean": "1 - sum ||delta - estimate||^2 / sum ||delta - mean||^2, mean = the mean "
    "difference over training rows",
    "l0": "active latents per token",
    "norm_*": "length of a mean activation, or of the mean difference, raw units",
    "cosine_*": "of the two models' means; of a group's mean difference with that of all tokens",
    "share": "n ||mean of the group||^2 / sum ||delta||^2 over the training rows of the group",
}


@dataclass(frozen=True)
class CellMeans:
    """Over training rows, per cell: n_C rows, sum_CMD of activations, square_C sum ||delta||^2."""

    n_C: Floats
    sum_CMD: Floats
    square_C: Floats
    cells: Cells

    @property
    def differ(self) -> bool:
        """Whether the two models differ on any of the rows."""
        return bool(self.square_C.sum() > 0)

    def difference(self, cells: list[int]) -> Floats:
        """[D] mean difference over the rows of these cells; 0 where there are none."""
        sums = self.sum_CMD[cells].sum(axis=0)
        return (sums[1] - sums[0]) / max(1.0, self.n_C[cells].sum())


@torch.inference_mode()
def cell_means(window: Window, device: torch.device) -> CellMeans:
    """One pass over training rows. Memory: one batch, and a mean per cell."""
    n_models, d_model = window.reader.read("activations", 0, 1).shape[1:]
    cells = Cells.of(window.reader)
    n = torch.zeros(cells.n, dtype=torch.float64, device=device)
    square, sums = torch.zeros_like(n), n.new_zeros(cells.n, n_models, d_model)
    for rows in window.batches(device, "mean_difference", "source", "token_class"):
        x, cell = rows.x, torch.from_numpy(rows.cells).to(device)
        n.index_add_(0, cell, torch.ones_like(cell, dtype=torch.float64))
        sums.index_add_(0, cell, x.double())
        square.index_add_(0, cell, (x[:, 1] - x[:, 0]).double().square().sum(dim=1))
    return CellMeans(n.cpu().numpy(), sums.cpu().numpy(), square.cpu().numpy(), cells)


def mean_table(means: CellMeans) -> dict[str, MeanDifference]:
    """Group -> n_tokens, norms, cosines and the share of the difference that its mean is."""
    groups = means.cells.groups
    overall = means.difference(groups["all"])
    return {name: _mean_figures(means, cells, overall) for name, cells in groups.items()}


def _mean_figures(means: CellMeans, cells: list[int], overall_D: Floats) -> MeanDifference:
    n = means.n_C[cells].sum()
    base, it = means.sum_CMD[cells].sum(axis=0) / max(1.0, n)
    delta = it - base
    square = means.square_C[cells].sum()
    return {
        "n_tokens": int(n),
        "norm_mean_base": float(np.linalg.norm(base)),
        "norm_mean_it": float(np.linalg.norm(it)),
        "norm_mean_difference": float(np.linalg.norm(delta)),
        "norm_root_mean_square": float(np.sqrt(square / max(1.0, n))),
        "cosine_means": _cosine(base, it),
        "cosine_with_all": _cosine(delta, overall_D),
        "share": float(n * delta @ delta / square) if square > 0 else None,
    }


def _cosine(a: Floats, b: Floats) -> float | None:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else None


@dataclass(frozen=True)
class DifferenceSums:
    """Over held-out rows: n_UC rows, n_active_UCK of the two dictionaries (crosscoder, diff-SAE),
    error_UCK sum ||delta - estimate||^2 by ESTIMATORS, raw units."""

    n_UC: Floats
    n_active_UCK: Floats
    error_UCK: Floats
    cells: Cells


@torch.inference_mode()
def difference_pass(
    crosscoder: Crosscoder,
    diff_sae: Crosscoder,
    means: CellMeans,
    window: Window,
    *,
    n_sequences: int,
) -> DifferenceSums:
    """One pass over held-out rows with both dictionaries."""
    device = crosscoder.W_dec.device
    cells = means.cells
    mean_D = torch.from_numpy(means.difference(cells.groups["all"])).float().to(device)
    mean_CD = torch.from_numpy(np.stack([means.difference([c]) for c in range(cells.n)]))
    mean_CD = mean_CD.float().to(device)
    width = 1 + 2 + len(ESTIMATORS)
    sums = torch.zeros(MAX_UNITS * cells.n, width, dtype=torch.float64, device=device)
    units, n_units = Units(max(1, n_sequences)), 0
    for rows in window.batches(device, "baselines", "source", "token_class", "sequence"):
        unit, cell = units.of(rows.columns["sequence"]), torch.from_numpy(rows.cells).to(device)
        n_units = max(n_units, int(unit.max()) + 1)
        key = torch.from_numpy(unit).to(device) * cells.n + cell
        figures = _figures(crosscoder, diff_sae, rows.x, mean_D, mean_CD[cell])
        sums.index_add_(0, key, figures.double())
    found = sums[: n_units * cells.n].reshape(n_units, cells.n, width).cpu().numpy()
    return DifferenceSums(found[..., 0], found[..., 1:3], found[..., 3:], cells)


def _figures(
    crosscoder: Crosscoder,
    diff_sae: Crosscoder,
    x_BMD: Tensor,
    mean_D: Tensor,
    cell_mean_BD: Tensor,
) -> Tensor:
    """[B, 1 + 2 + K]: one, active latents of both dictionaries, squared errors."""
    delta = x_BMD[:, 1] - x_BMD[:, 0]
    f = crosscoder.encode(crosscoder.normalise(x_BMD))
    rebuilt = crosscoder.denormalise(crosscoder.decode(f))
    g = diff_sae.encode(diff_sae.normalise(delta[:, None]))
    rebuilt_delta = diff_sae.denormalise(diff_sae.decode(g))[:, 0]
    estimates = (
        torch.zeros_like(delta),
        mean_D.expand_as(delta),
        cell_mean_BD,
        rebuilt[:, 1] - rebuilt[:, 0],
        rebuilt_delta,
    )
    errors = [(delta - estimate).square().sum(dim=1) for estimate in estimates]
    active = [(values > 0).sum(dim=1).float() for values in (f, g)]
    return torch.stack([torch.ones_like(errors[0]), *active, *errors], dim=1)


def difference_table(sums: DifferenceSums, bootstrap: Bootstrap) -> dict[str, ExplainedOn]:
    """Group -> n_tokens, estimator -> {explained, beyond_mean, l0} with intervals."""
    return {name: _explained(sums, cells, bootstrap) for name, cells in sums.cells.groups.items()}


def _explained(sums: DifferenceSums, cells: list[int], bootstrap: Bootstrap) -> ExplainedOn:
    n = sums.n_UC[:, cells].sum(axis=1)
    error = sums.error_UCK[:, cells].sum(axis=1)
    active = sums.n_active_UCK[:, cells].sum(axis=1)

    def over(estimator: str, reference: str) -> Measured:
        k, of = ESTIMATORS.index(estimator), ESTIMATORS.index(reference)
        return bootstrap.one_minus_ratio(error[:, k], error[:, of])

    def explained(estimator: str) -> Explained:
        return {"explained": over(estimator, "zero"), "beyond_mean": over(estimator, "mean")}

    def dictionary(estimator: str, column: int) -> Explained:
        l0 = bootstrap.ratio(active[:, column], n)
        return {**explained(estimator), "l0": l0}

    return {
        "n_tokens": int(n.sum()),
        "mean": {"explained": over("mean", "zero")},
        "cell_mean": explained("cell_mean"),
        "crosscoder": dictionary("crosscoder", 0),
        "diff_sae": dictionary("diff_sae", 1),
    }


def headline(table: Mapping[str, ExplainedOn], causal: Patches | None) -> dict[str, float | None]:
    """The few figures to compare runs by."""
    short: dict[str, float | None] = {}
    for estimator in ("mean", "cell_mean", "crosscoder", "diff_sae"):
        figures = table["all"][estimator]
        short[f"explained_{estimator}"] = figures["explained"]["value"]
        if "l0" in figures:
            short[f"l0_{estimator}"] = figures["l0"]["value"]
    if causal is not None:
        for patch in ("cell_mean", "diff_sae", "full"):
            figures = causal[patch]["tokens"]["response"]
            short[f"kl_removed_{patch}"] = figures["removed"]["value"]
    return rounded(short)
