"""Readings without kept keys: every step reads the whole text again."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pipeline.analysis.losses import Head
from pipeline.analysis.splicing import Continued, HookedModel, Residual


class Rereading:
    """What a Continuation computes, from the whole text at every step."""

    def __init__(self, residual: Residual, continued: Continued, head: Head) -> None:
        self._residual, self._continued, self._head = residual, continued, head
        self._text = torch.zeros(0, dtype=torch.long)
        self._hidden = torch.zeros(0)

    def residual(self, token_ids: Tensor) -> Tensor:
        return self._read(token_ids)[:, -token_ids.shape[1] :]

    def logits(self, token_ids: Tensor, replace: Callable[[Tensor], Tensor]) -> Tensor:
        new = replace(self.residual(token_ids))
        self._hidden = torch.cat([self._hidden, new], dim=1) if self._hidden.numel() else new
        return self._head.logits(self._continued(self._text, self._hidden)[:, -1])

    def _read(self, token_ids: Tensor) -> Tensor:
        known = self._text.numel()
        self._text = torch.cat([self._text, token_ids], dim=1) if known else token_ids
        return self._residual(self._text)


def hooked(residual: Residual, continued: Continued, head: Head) -> HookedModel:
    """A model of these functions, which rereads as it goes on."""
    return HookedModel(residual, continued, head, partial(Rereading, residual, continued, head))
