"""The reconstruction term of BatchTopK in two published forms. Letters: B rows, P = M * D.

    squared  mean_B sum_{m,d} (x_hat - x)^2     Gao et al. 2024, Bussmann et al. 2024
    norm     mean_{B,m} ||x_hat_m - x_m||       Minder, Dumas et al. 2025, as their trainer has it

Rows are scaled to a norm of sqrt(D) per model, so where nothing is explained the first is about
M D and the second sqrt(D). `weights` brings both terms of the loss to one measure: the total is in
proportion to (share unexplained, or its root) + c auxk, and c means the same at any width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reconstruction:
    """One of the two forms, for rows of `n_models` models of width `d_model`."""

    form: Literal["squared", "norm"]
    n_models: int
    d_model: int

    def weights(self, auxk_coefficient: float) -> dict[str, float]:
        """Weights of the terms. `norm` has that of its source, whose rows have a norm of 1: there
        the gradient's clipping depends on it. `squared` keeps its own scale, that of L1."""
        if self.form == "norm":
            return {"reconstruction": self.d_model**-0.5, "auxk": auxk_coefficient}
        return {"reconstruction": 1.0, "auxk": auxk_coefficient * self.n_models * self.d_model}

    def term(self, residual_BP: Tensor, n_rows: int) -> Tensor:
        """The sum over the given rows' x_hat - x, over `n_rows` rows of the whole batch."""
        if self.form == "norm":
            return self._norms(residual_BP).sum() / (n_rows * self.n_models)
        return residual_BP.square().sum() / n_rows

    def gradient(self, residual_BP: Tensor, n_rows: int) -> Tensor:
        """d (weight * term) / d residual_BP. The norm's is a unit vector, and 0 at 0."""
        if self.form == "squared":
            return residual_BP * (2 / n_rows)
        norm_BM1 = self._norms(residual_BP).unsqueeze(-1)
        unit_BMD = residual_BP.view(*norm_BM1.shape[:2], -1) / norm_BM1
        factor = self.weights(0.0)["reconstruction"] / (n_rows * self.n_models)
        return torch.where(norm_BM1 > 0, unit_BMD * factor, 0).view_as(residual_BP)

    def _norms(self, residual_BP: Tensor) -> Tensor:
        """[B, M]"""
        x_BMD = residual_BP.view(len(residual_BP), self.n_models, self.d_model)
        return torch.linalg.vector_norm(x_BMD, dim=-1)
