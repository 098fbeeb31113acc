"""Rows of two models that differ in ways that are known: a small world of tokens and contexts."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from pipeline.config.changes import ChangesConfig
from pipeline.config.compose import compose

N_TOKENS, D_MODEL = 40, 48


def section(**values: object) -> ChangesConfig:
    """The shipped section, with other values where given."""
    return _shipped().model_copy(update=values)


@cache
def _shipped() -> ChangesConfig:
    return compose(["+experiment=tiny"]).changes


@dataclass(frozen=True)
class World:
    """Base rows [N, D]: a token's own direction and a dense context. token [N] of every row;
    direction: unit vectors to change things along."""

    base: Tensor
    token: Tensor
    direction: Tensor

    def pair(self, it: Tensor) -> Tensor:
        """[N, base and IT, D]"""
        return torch.stack([self.base, it], dim=1)

    def on(self, token: int) -> Tensor:
        return (self.token == token).float()[:, None]

    def embedding(self, token: int) -> Tensor:
        """[D] what base writes for a token."""
        return _embeddings()[token]


def world(seed: int, n_rows: int = 6000) -> World:
    random = torch.Generator().manual_seed(seed)
    token = torch.randint(N_TOKENS, (n_rows,), generator=random)
    context = torch.randn(n_rows, 6, generator=random) @ _directions(6, 77) * 0.4
    noise = 0.05 * torch.randn(n_rows, D_MODEL, generator=random)
    return World(_embeddings()[token] + context + noise, token, _directions(8, 78))


def _embeddings() -> Tensor:
    return 3.0 * _directions(N_TOKENS, 76)


def _directions(n: int, seed: int) -> Tensor:
    """[n, D] unit vectors, orthogonal where n <= D."""
    random = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(D_MODEL, n, generator=random))[0].T
