"""Texts that a model goes on with, its residual stream replaced at the hook point as it writes.

Both models read along: what a change puts into a row follows from the difference of the two. The
replacement reaches the blocks above the hook point alone, so the streams below depend on the tokens
that have been written and on nothing else.

Letters: B texts of one length, S new tokens, D d_model, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.analysis.splicing import HookedModel, Reading, Unpatched, patched


@dataclass(frozen=True)
class Step:
    """New tokens of every text. token_ids [B, S]; first: position of the first of them; hidden_M:
    residual streams [B, S, D] of base and IT at the hook point."""

    token_ids: Tensor
    first: int
    hidden_M: tuple[Tensor, Tensor]


Replace = Callable[[Step], Tensor]
"""Step -> the residual stream [B, S, D] that the writing model goes on from."""
Choose = Callable[[Tensor, int], Tensor]
"""Logits [B, V] and the number of the token to write, from 0 -> its id in every text [B]."""


@torch.inference_mode()
def generate(
    models: tuple[HookedModel, HookedModel],
    m: int,
    token_ids: Tensor,
    replace: Replace,
    choose: Choose,
    *,
    n_tokens: int,
    unpatched: Unpatched,
) -> Tensor:
    """[B, n_tokens] what model number `m` writes after token_ids [B, S].

    What gives no row keeps its own residual stream: the start token wherever it stands, position 0,
    and outliers.
    """
    readings = (models[0].begin(), models[1].begin())
    text, n_new = token_ids, token_ids.shape[1]
    for n in range(n_tokens):
        logits = _read_on(readings, m, text, n_new, replace, unpatched)
        text, n_new = torch.cat([text, choose(logits, n)[:, None]], dim=1), 1
    return text[:, token_ids.shape[1] :]


def _read_on(
    readings: tuple[Reading, Reading],
    m: int,
    text: Tensor,
    n_new: int,
    replace: Replace,
    unpatched: Unpatched,
) -> Tensor:
    """Logits [B, V] of model number `m` after `text` [B, S], of which the last `n_new` tokens are
    new to both readings."""
    new = text[:, -n_new:]
    other = readings[1 - m].residual(new)
    starts = unpatched.starts(text)[:, -n_new:]

    def swap(own: Tensor) -> Tensor:
        hidden_M = (other, own) if m else (own, other)
        step = Step(new, text.shape[1] - n_new, hidden_M)
        return patched(own, replace(step), starts | unpatched.outliers(hidden_M))

    return readings[m].logits(new, swap)


def greedy(logits_BV: Tensor, _n: int) -> Tensor:
    """The likeliest token of each text."""
    return logits_BV.argmax(dim=-1)


@dataclass(frozen=True)
class Sampled:
    """Draws tokens at a temperature by given numbers in [0, 1), one per text and token: two texts
    with the same numbers differ only by what their models say.

    uniform_BT: [B, n_tokens] in float64
    """

    uniform_BT: Tensor
    temperature: float

    def __call__(self, logits_BV: Tensor, n: int) -> Tensor:
        # Inverse of the cumulative distribution; in float64, or the last tokens of a large
        # vocabulary would share one value.
        cumulative = (logits_BV.double() / self.temperature).softmax(dim=-1).cumsum(dim=-1)
        drawn = self.uniform_BT[:, n, None].to(cumulative) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, drawn, right=True)[:, 0].clamp(
            max=logits_BV.shape[1] - 1
        )


def own(m: int) -> Replace:
    """The residual stream as it is."""
    return lambda step: step.hidden_M[m]
