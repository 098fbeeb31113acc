"""Rows at the hook point with one edit made alone.

Letters: Q sequences, S positions, T rows, D d_model.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.edits import Edit, made
from pipeline.models.hook import residual

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SEQUENCES_AT_ONCE = 16


def rows_with(
    model: "PreTrainedModel",
    edit: Edit | None,
    token_ids: NDArray[np.integer],
    layer: int,
    start_id: int | None,
) -> Tensor:
    """[T, D] rows of token_ids [Q, S] in the order of the store, the start token left out, of the
    model with the edit, or as it is. The model is left as it was."""
    parts = torch.from_numpy(token_ids).long().to(model.device).split(SEQUENCES_AT_ONCE)
    with made(model, edit):
        return torch.cat([residual(model, layer, part)[part != start_id].float() for part in parts])
