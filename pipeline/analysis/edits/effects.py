"""The truth: what each edit, made alone, does to base's rows at the hook point.

Letters: T rows, D d_model, E edits, G blocks of documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.changes.judge import likely_kinds
from pipeline.analysis.changes.lines import STRONG
from pipeline.analysis.changes.measure import Written
from pipeline.config.changes import ChangesConfig

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """One edit's effect. effect_TD: x_base with the edit alone, less x_base; share: of its squares
    in those of the whole difference; direction_D: its first principal direction, through the
    origin, upwards; best: sum of squares along it
    kind, margin: as a listed change would be judged on its true rows, and how far inside the kind
    """

    name: str
    effect_TD: Tensor
    share: float
    direction_D: Tensor
    best: float
    kind: str
    margin: float


def truth_of(
    name: str,
    effect_TD: Tensor,
    base_TD: Tensor,
    difference_square: float,
    block_T: Tensor,
    section: ChangesConfig,
) -> Truth:
    """The truth of an edit from its effect. difference_square: sum |h_it - h_base|^2"""
    effect_TD = effect_TD.float()
    values, vectors = torch.linalg.eigh((effect_TD.T @ effect_TD).double())
    direction_D = vectors[:, -1].float()
    along_T = effect_TD @ direction_D
    if float(along_T.pow(3).sum()) < 0:
        direction_D, along_T = -direction_D, -along_T
    kind, margin = _kind(effect_TD, along_T, direction_D, base_TD, block_T, section)
    square = float(effect_TD.square().sum())
    share = square / max(difference_square, 1e-30)
    return Truth(name, effect_TD, share, direction_D, float(values[-1]), kind, margin)


def _kind(
    effect_TD: Tensor,
    along_T: Tensor,
    direction_D: Tensor,
    base_TD: Tensor,
    block_T: Tensor,
    section: ChangesConfig,
) -> tuple[str, float]:
    level = (along_T.pow(4).sum() / along_T.square().sum().clamp_min(1e-30)).sqrt()
    h_T1 = torch.where(along_T.abs() > STRONG * level, along_T, 0)[:, None]
    x_TMD = torch.stack([base_TD, base_TD + effect_TD], dim=1)
    written = Written(direction_D[None], section.n_blocks)
    written.add(h_T1, x_TMD - x_TMD.mean(dim=0), block_T)
    kinds, margins = likely_kinds(written.finish(), section)
    return str(kinds[0]), float(margins[0])


def big(truths: Sequence[Truth], min_share: float) -> list[int]:
    """Numbers of the edits that a list must name."""
    return [number for number, truth in enumerate(truths) if truth.share >= min_share]
