"""What may carry a KL, and how much of it each does: by attribution, and by patching.

A change j puts c_j,t into the difference of row t (`ChangeRows.part`); a latent l puts
f_l,t (d_l^it - d_l^base) there, as in the causal test. The parts with the largest attributions are
then undone one by one, beside a random direction that is as long on every row.

Letters: S positions, M models (base, IT), D d_model, L latents, R rows of a piece.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.analysis.changes.rows import ChangeRows
from pipeline.analysis.parting.attribution import Scene
from pipeline.analysis.parting.result import Carrier
from pipeline.analysis.splicing import row_pieces
from pipeline.crosscoder import Crosscoder

Part = Callable[[int], Tensor]
"""Number of a change or latent -> what it puts into the difference of each row [S, D]."""


@dataclass(frozen=True)
class Found:
    """attribution: number -> A; part: of each of these."""

    attribution: Mapping[int, float]
    part: Part

    def strongest(self, n: int) -> list[int]:
        """The n numbers with the largest attributions, whatever their sign."""
        ranked = sorted(self.attribution.items(), key=lambda item: (-abs(item[1]), item[0]))
        return [number for number, value in ranked[:n] if value]


class Subjects:
    """Listed changes, by rank, and all latents of the crosscoder. change_of: rank -> the number by
    which data/changes knows it."""

    def __init__(
        self, rows: ChangeRows, change_of: Mapping[int, int], crosscoder: Crosscoder
    ) -> None:
        self._rows, self._change_of, self._crosscoder = rows, change_of, crosscoder
        self._difference_LD = crosscoder.decoder_difference()

    @torch.no_grad()
    def changes(self, scene: Scene, gradient_SD: Tensor) -> Found:
        """The attribution of every listed change."""
        rows, stays_S1 = self._rows(_both(scene)), scene.kept[0][:, None]

        def part(rank: int) -> Tensor:
            return self._rows.part(rows, self._change_of[rank]).masked_fill(stays_S1, 0)

        attribution = {rank: float((part(rank) * gradient_SD).sum()) for rank in self._change_of}
        return Found(attribution, part)

    @torch.no_grad()
    def latents(self, scene: Scene, gradient_SD: Tensor) -> Found:
        """The attribution of every latent that fires on the text."""
        x_SMD, stays_S1 = _both(scene), scene.kept[0][:, None]
        total_L = torch.zeros(self._crosscoder.n_latents, device=x_SMD.device)
        width = self._crosscoder.n_latents
        pieces = zip(row_pieces(x_SMD, width), row_pieces(gradient_SD, width), strict=True)
        for x_RMD, gradient_RD in pieces:
            f_RL = self._crosscoder.latents(x_RMD)
            total_L += (f_RL * (gradient_RD @ self._difference_LD.T)).sum(dim=0)

        def part(latent: int) -> Tensor:
            f_S = torch.cat(
                [self._crosscoder.latents(x)[:, latent] for x in row_pieces(x_SMD, width)]
            )
            return (f_S[:, None] * self._difference_LD[latent]).masked_fill(stays_S1, 0)

        firing = total_L.nonzero()[:, 0].tolist()
        return Found({latent: float(total_L[latent]) for latent in firing}, part)


def _both(scene: Scene) -> Tensor:
    """[S, M, D]"""
    return torch.stack([scene.base_SD, scene.it_SD], dim=1)


@torch.no_grad()
def carriers(
    scene: Scene,
    gradient_SD: Tensor,
    found: Found,
    *,
    n: int,
    random_D: Tensor,
    name: Callable[[int], str],
) -> list[Carrier]:
    """The n strongest, by falling attribution. random_D: a unit vector; name: position -> the text
    of the token there"""
    numbers = found.strongest(n)
    parts = [found.part(number) for number in numbers]
    twins = [part.norm(dim=1, keepdim=True) * random_D for part in parts]
    removed = scene.removed([*parts, *twins])
    return [
        _carrier(number, part, gradient_SD, patch, random, name)
        for number, part, patch, random in zip(
            numbers, parts, removed[: len(parts)], removed[len(parts) :], strict=True
        )
    ]


def _carrier(
    number: int,
    part_SD: Tensor,
    gradient_SD: Tensor,
    patch: float,
    random: float,
    name: Callable[[int], str],
) -> Carrier:
    along_S = (part_SD * gradient_SD).sum(dim=1)
    at = int(along_S.abs().argmax())
    return {
        "number": number,
        "attribution": float(along_S.sum()),
        "patch": patch,
        "random": random,
        "at": at,
        "on": name(at),
    }


def correlation(found: Sequence[Carrier]) -> float | None:
    """Of attribution and patch; None for fewer than three, or where one of them does not vary."""
    pairs = torch.tensor([[one["attribution"], one["patch"]] for one in found], dtype=torch.float64)
    if len(pairs) < 3 or bool((pairs.std(dim=0) == 0).any()):
        return None
    return float(torch.corrcoef(pairs.T)[0, 1])
