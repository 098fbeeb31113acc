"""Which latent stands for which planted feature: by activations on held-out rows and by direction.

Letters: B rows, L latents, F features, M models, D d_model, P = M * D.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pipeline.analysis.heldout import Window
from pipeline.crosscoder import Crosscoder
from pipeline.plant.features import Features

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LABELS = ("document", "sequence", "position", "source")


@dataclass(frozen=True)
class Cooccurrence:
    """What latents and features do together on the held-out rows.

    correlation_LF: of their activations, 0 where one never varies; n_active_L, n_active_F: rows on
    which each is active
    """

    n_rows: int
    correlation_LF: Floats
    n_active_L: Ints
    n_active_F: Ints


@torch.inference_mode()
def cooccurrence(crosscoder: Crosscoder, features: Features, window: Window) -> Cooccurrence:
    """One pass over held-out rows. The features' activations are drawn anew, row by row;
    of a feature with different contexts in the two models, those of either."""
    device = crosscoder.W_dec.device
    sums = _Sums(crosscoder.n_latents, features.n, device)
    for rows in window.batches(device, "recovery", *LABELS):
        labels = [rows.columns[name].astype(np.int64) for name in LABELS]
        g = features.anywhere(features.activations(*labels[:3]), labels[3])
        sums.add(crosscoder.encode(crosscoder.normalise(rows.x)), torch.from_numpy(g))
    return sums.finish()


class _Sums:
    def __init__(self, n_latents: int, n_features: int, device: torch.device) -> None:
        self._n, self._device = 0, device
        shape = {"f": (n_latents,), "g": (n_features,), "fg": (n_latents, n_features)}
        self._sum = {
            k: torch.zeros(s, dtype=torch.float64, device=device) for k, s in shape.items()
        }
        self._square = {k: torch.zeros_like(self._sum[k]) for k in "fg"}
        self._active = {k: torch.zeros_like(self._sum[k]) for k in "fg"}

    def add(self, f_BL: Tensor, g_BF: Tensor) -> None:
        g_BF = g_BF.to(f_BL)
        self._n += len(f_BL)
        self._sum["fg"] += f_BL.T @ g_BF
        for name, values in (("f", f_BL), ("g", g_BF)):
            self._sum[name] += values.sum(0, dtype=torch.float64)
            self._square[name] += values.square().sum(0, dtype=torch.float64)
            self._active[name] += (values > 0).sum(0)

    def finish(self) -> Cooccurrence:
        n, mean = self._n, {k: self._sum[k] / self._n for k in "fg"}
        spread = {k: (self._square[k] / n - mean[k].square()).clamp_min(0).sqrt() for k in "fg"}
        covariance = self._sum["fg"] / n - torch.outer(mean["f"], mean["g"])
        scale = torch.outer(spread["f"], spread["g"])
        correlation = torch.where(scale > 0, covariance / scale, 0)
        active = {k: self._active[k].long().cpu().numpy() for k in "fg"}
        return Cooccurrence(n, correlation.cpu().numpy(), active["f"], active["g"])


def direction_cosine(W_dec_LMD: Floats, features: Features, activation_scale_M: Floats) -> Floats:
    """[L, F] cosine of [d_base; d_IT] of latents and features, in the crosscoder's own space."""
    true_FMD = features.direction_FMD * features.gain_FM[:, :, None]
    true_FMD = true_FMD * activation_scale_M[:, None]
    learned_LP, true_FP = (
        _unit(vectors.reshape(len(vectors), -1)) for vectors in (W_dec_LMD, true_FMD)
    )
    return learned_LP @ true_FP.T


def _unit(vectors: Floats) -> Floats:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)


@dataclass(frozen=True)
class Matching:
    """feature_L: the feature that each latent stands for, -1: none; several latents may stand for
    one. latent_F: the one latent that stands for each feature, one to one; -1: not found.
    correlation_LF, cosine_LF: what that rests on
    """

    feature_L: Ints
    latent_F: Ints
    correlation_LF: Floats
    cosine_LF: Floats


def match(
    correlation_LF: Floats, cosine_LF: Floats, *, min_correlation: float, min_cosine: float
) -> Matching:
    """Match where both thresholds are passed, by the product of correlation and cosine."""
    possible = (correlation_LF > min_correlation) & (cosine_LF > min_cosine)
    score_LF = np.where(possible, correlation_LF * cosine_LF, 0.0)
    feature_L = np.where(possible.any(axis=1), score_LF.argmax(axis=1), -1)
    latent_F = np.full(score_LF.shape[1], -1)
    latents, features = linear_sum_assignment(score_LF, maximize=True)
    kept = possible[latents, features]
    latent_F[features[kept]] = latents[kept]
    return Matching(feature_L, latent_F, correlation_LF, cosine_LF)
