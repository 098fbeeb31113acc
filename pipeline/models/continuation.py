"""A model that reads on, token by token, with its residual stream replaced at the hook point.

Keys and values of what it has read are kept, so that a step computes new tokens alone.

Letters: B texts of one length, S new tokens, D d_model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.models.hook import next_logits, residual
from pipeline.models.skeleton import positions_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Continuation:
    """One reading of a batch of texts, up to the hook point or to the end of the model: what has
    been read one way has no keys in the blocks that the other way needs."""

    def __init__(self, model: PreTrainedModel, layer: int) -> None:
        from transformers import DynamicCache

        self._model, self._layer = model, layer
        self._cache = DynamicCache(config=model.config)
        self._limit, self._n_read = positions_of(model), 0
        self._read: Tensor | None = None

    def residual(self, token_ids: Tensor) -> Tensor:
        """The residual stream [B, S, D] of new tokens [B, S] at the hook point."""
        self._count(token_ids)
        if self._layer:
            return residual(self._model, self._layer, token_ids, self._cache)
        # Below block 0 there is no block to keep keys, by whose number a model knows the position.
        before = token_ids[:, :0] if self._read is None else self._read
        self._read = torch.cat([before, token_ids], dim=1)
        return residual(self._model, 0, self._read)[:, before.shape[1] :]

    def logits(self, token_ids: Tensor, replace: Callable[[Tensor], Tensor]) -> Tensor:
        """Logits [B, V] after new tokens [B, S], whose residual stream is replaced."""
        self._count(token_ids)
        return next_logits(self._model, self._layer, token_ids, self._cache, replace)

    def _count(self, token_ids: Tensor) -> None:
        """Raise ModelError where the new tokens lie beyond the model's table of positions."""
        self._n_read += token_ids.shape[1]
        if self._limit is not None and self._n_read > self._limit:
            raise ModelError(
                f"a text and what is written after it come to {self._n_read:,} tokens, but "
                f"{type(self._model).__name__} has positions for {self._limit:,}: have less "
                "written (steering.n_tokens, organism.example_tokens), or give shorter texts "
                "(steering.questions, steering.beginnings, organism.max_prompt_tokens)"
            )
