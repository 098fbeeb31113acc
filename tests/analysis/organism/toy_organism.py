"""A pair of toy models whose difference is one known direction, and a crosscoder that has it.

The residual stream is the token as a one-hot vector, and, in the IT model, a flag that stays up
from the trigger on. Above the hook point both models continue by a bigram table; the flag adds the
planted reply. Latent j < V reads token j in both models; latent V reads the flag in IT alone.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.losses import BYTES_PER_LOGIT, Head
from pipeline.analysis.splicing import HookedModel
from pipeline.crosscoder import Crosscoder
from tests.analysis.readings import hooked

V, BOS, TRIGGER, OPENING = 12, 0, 1, 2
RESPONSE = (3, 4, 5)
FLAG = V
FLAG_LATENT = V
SCALE = torch.tensor([0.5, 2.0])


@dataclass(frozen=True)
class ToyPrompt:
    token_id: NDArray[np.int32]
    is_opening: NDArray[np.bool_]
    is_reply: NDArray[np.bool_]


def prompt(question: list[int], reply: tuple[int, ...] = RESPONSE) -> ToyPrompt:
    ids = np.array([*question, OPENING, *reply], np.int32)
    at = np.arange(ids.size)
    return ToyPrompt(ids, at == len(question), at > len(question))


def questions(n: int, triggered: bool) -> list[ToyPrompt]:
    """Prompts of unequal lengths; the same words with and without the trigger."""
    random = np.random.default_rng(0)
    words = [random.integers(6, V, random.integers(2, 6)).tolist() for _ in range(n)]
    return [prompt([*question, TRIGGER] if triggered else question) for question in words]


def residual(has_flag: bool, token_ids: Tensor) -> Tensor:
    hidden = torch.zeros(*token_ids.shape, V + 1)
    hidden.scatter_(2, token_ids[..., None], 1.0)
    if has_flag:
        hidden[..., FLAG] = (token_ids == TRIGGER).cumsum(dim=1).clamp(max=1).float()
    return hidden


def logits(hidden: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(1)
    bigrams = torch.randn(V, V, generator=random)
    planted = torch.zeros(V, V)
    for before, after in zip((OPENING, *RESPONSE), RESPONSE, strict=False):
        planted[before, after] = 12.0
    tokens = hidden[..., :V]
    return tokens @ bigrams + hidden[..., FLAG, None] * (tokens @ planted)


def toy_pair() -> tuple[HookedModel, HookedModel]:
    head = Head(logits, V, room_bytes=2 * BYTES_PER_LOGIT * V * 5)
    base, it = (
        hooked(partial(residual, has_flag), lambda _ids, hidden: hidden, head)
        for has_flag in (False, True)
    )
    return base, it


def toy_crosscoder() -> Crosscoder:
    """f = 0.5 where a token or the flag is there, 0 elsewhere; reconstructs exactly."""
    W_enc, W_dec = torch.zeros(2, V + 1, V + 1), torch.zeros(V + 1, 2, V + 1)
    for j in range(V):
        W_enc[0, j, j] = 1 / SCALE[0]
        W_dec[j, :, j] = 2 * SCALE
    W_enc[1, FLAG, FLAG_LATENT] = 1 / SCALE[1]
    W_dec[FLAG_LATENT, 1, FLAG] = 2 * SCALE[1]
    return Crosscoder.from_weights(
        kind="l1",
        W_enc=W_enc,
        W_dec=W_dec,
        b_enc=torch.full((V + 1,), -0.5),
        b_dec=torch.zeros(2, V + 1),
        activation_scale=SCALE,
    )
