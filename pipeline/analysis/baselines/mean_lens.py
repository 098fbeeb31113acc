"""What the mean difference between the models would write: its logit lens through the IT head."""

from typing import Any

import numpy as np
import torch

from pipeline.analysis.baselines.difference import CellMeans
from pipeline.analysis.lens import Head, logit_lens
from pipeline.labels import MODELS


def mean_lens(means: CellMeans, head: Head, *, n_tokens: int, n_vocab: int) -> dict[str, Any]:
    """Group -> {promoted, suppressed}: pairs (token id, logit), the furthest first.

    head: of the IT model; see `lens` for the definition
    """
    groups = means.cells.groups
    directions = np.stack([means.difference(cells) for cells in groups.values()])
    both = torch.from_numpy(directions).float()[:, None].expand(-1, len(MODELS), -1)
    lists = logit_lens((head, head), both, n_tokens=n_tokens, n_vocab=n_vocab)
    return {
        group: {
            name: [
                (int(token), round(float(logit), 4))
                for token, logit in zip(
                    lists[f"it_{name}"].token_JK[j], lists[f"it_{name}"].logit_JK[j], strict=True
                )
            ]
            for name in ("promoted", "suppressed")
        }
        for j, group in enumerate(groups)
    }
