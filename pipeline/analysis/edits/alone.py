"""Rows at the hook point with one edit made alone.

Letters: Q sequences, S positions, T rows, D d_model.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.edits.edit import Edit, made
from pipeline.models.hook import residual

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SEQUENCES_AT_ONCE = 16


def rows_with(
    model: "PreTrainedModel",
    edit: Edit | None,
    token_ids: NDArray[np.integer],
    layer: int,
    is_row: NDArray[np.bool_],
) -> Tensor:
    """[T, D] rows of token_ids [Q, S] in the order of the store, those that is_row [Q, S] marks, of
    the model with the edit, or as it is. The model is left as it was."""
    ids_Q, of_row_Q = (
        torch.from_numpy(array).to(model.device).split(SEQUENCES_AT_ONCE)
        for array in (token_ids, is_row)
    )
    with made(model, edit):
        return torch.cat(
            [
                residual(model, layer, ids.long())[of_row].float()
                for ids, of_row in zip(ids_Q, of_row_Q, strict=True)
            ]
        )


def effect_alone(
    model: "PreTrainedModel",
    edit: Edit,
    token_ids: NDArray[np.integer],
    layer: int,
    is_row: NDArray[np.bool_],
    plain_TD: Tensor,
) -> Tensor:
    """[T, D] what the edit alone does to the model's rows `plain_TD`. Sequences without a token
    whose embedding is edited stay as they are, and are not run."""
    touched_Q = np.ones(len(token_ids), dtype=bool)
    if edit.module == "embedding":
        touched_Q = (token_ids == edit.index).any(axis=1)
    effect_TD = torch.zeros_like(plain_TD)
    if touched_Q.any():
        of_row_QS = np.broadcast_to(touched_Q[:, None], token_ids.shape)
        touched_T = torch.from_numpy(of_row_QS[is_row]).to(plain_TD.device)
        rows_TD = rows_with(model, edit, token_ids[touched_Q], layer, is_row[touched_Q])
        effect_TD[touched_T] = rows_TD - plain_TD[touched_T]
    return effect_TD


def control_rows(
    edit: Edit,
    token_ids: NDArray[np.integer],
    is_row: NDArray[np.bool_],
    alone: Callable[[Edit], Tensor],
) -> Tensor:
    """[T] how strongly a control acts, or would act, on each row: of an edited token its own rows,
    else the length of its effect made alone."""
    if edit.module == "embedding":
        return torch.from_numpy(token_ids[is_row] == edit.index).float()
    return alone(edit).norm(dim=1)
