"""What the mean difference says, of a group of tokens and at a position, and whether a planted
behaviour can be read in it.

The direction goes through the final norm, unembedding and soft-cap of either model (`lens`). Where
a behaviour was planted, the tokens that it promotes are counted that belong to the trigger or to
the planted reply, beside the same count of random directions.

Letters: P positions, K draws, D d_model.
"""

from collections.abc import Callable, Set
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.analysis.baselines.difference import CellMeans, Floats
from pipeline.analysis.baselines.positions import PositionMeans
from pipeline.analysis.baselines.result import MeanLens, Position, PositionRead, Positions
from pipeline.analysis.lens import TokenList, logit_lens
from pipeline.analysis.losses import Head
from pipeline.labels import MODELS

if TYPE_CHECKING:
    import pandas as pd

Text = Callable[[int], str]


def position_lens(
    means: PositionMeans,
    heads: tuple[Head, Head],
    planted: Set[int],
    text: Text,
    *,
    n_tokens: int,
    n_vocab: int,
) -> Positions:
    """The lens of every position. planted: ids of the planted words, none where nothing is
    planted; text: of a token id"""
    K, P, D = means.random_KPD.shape
    directions = np.concatenate([means.difference_PD[None], means.random_KPD]).reshape(-1, D)
    lists = logit_lens(heads, of_both(directions), n_tokens=n_tokens, n_vocab=n_vocab)
    return {
        "n_documents": means.n,
        "n_draws": K,
        "planted_words": sorted({text(token) for token in planted}),
        "positions": [
            _position(p, means, lists, text, _reads(p, P, K, lists, planted, text))
            for p in range(P)
        ],
    }


def of_both(directions_JD: Floats) -> torch.Tensor:
    """[J, M, D] the same directions for either model."""
    return torch.from_numpy(directions_JD).float()[:, None].expand(-1, len(MODELS), -1)


def mean_lens(
    means: CellMeans, head: Head, text: Text, *, n_tokens: int, n_vocab: int
) -> dict[str, MeanLens]:
    """Group -> what its mean difference promotes and suppresses. head: of the IT model"""
    groups = means.cells.groups
    both = of_both(np.stack([means.difference(cells) for cells in groups.values()]))
    lists = logit_lens((head, head), both, n_tokens=n_tokens, n_vocab=n_vocab)
    return {
        group: {
            "promoted": lists["it_promoted"].told(j, text),
            "suppressed": lists["it_suppressed"].told(j, text),
        }
        for j, group in enumerate(groups)
    }


def _position(
    p: int,
    means: PositionMeans,
    lists: dict[str, TokenList],
    text: Text,
    read: dict[str, PositionRead],
) -> Position:
    return {
        "position": p + 1,
        "norm_difference": float(np.linalg.norm(means.difference_PD[p])),
        "norm_root_mean_square": float(np.sqrt(means.square_P[p])),
        "norm_base": float(means.length_PM[p, 0]),
        "norm_it": float(means.length_PM[p, 1]),
        "promotes_in_base": lists["base_promoted"].told(p, text),
        "suppresses_in_base": lists["base_suppressed"].told(p, text),
        "promotes_in_it": lists["it_promoted"].told(p, text),
        "suppresses_in_it": lists["it_suppressed"].told(p, text),
        "read": read,
    }


def _reads(
    p: int, P: int, K: int, lists: dict[str, TokenList], planted: Set[int], text: Text
) -> dict[str, PositionRead]:
    """Model -> which planted words are read at position p, beside random directions there."""
    if not planted:
        return {}
    found: dict[str, PositionRead] = {}
    for model in MODELS:
        token_JK = lists[f"{model}_promoted"].token_JK.reshape(1 + K, P, -1)[:, p]
        n_J = np.isin(token_JK, list(planted)).sum(axis=1)
        found[model] = {
            "words": [text(int(t)) for t in token_JK[0] if int(t) in planted],
            "random_mean": float(n_J[1:].mean()),
            "random_highest": int(n_J[1:].max()),
            "p_value": float((1 + (n_J[1:] >= n_J[0]).sum()) / (1 + K)),
        }
    return found


def position_frame(means: PositionMeans | None) -> "pd.DataFrame":
    """One row per position, to steer with: its mean difference, the first random direction, and the
    length of each model's rows; no row where there are no models."""
    import pandas as pd

    if means is None:
        return pd.DataFrame({"position": [], "difference": [], "random": []})
    return pd.DataFrame(
        {
            "position": np.arange(1, len(means.mean_PMD) + 1),
            "difference": list(means.difference_PD.astype(np.float32)),
            "random": list(means.random_KPD[0].astype(np.float32)),
            **{f"norm_{model}": means.length_PM[:, m] for m, model in enumerate(MODELS)},
        }
    )
