"""Continuations of every prompt under every condition.

All conditions of a prompt are texts of one length, so they are one batch and nothing is padded.
Sampled texts share their random numbers across conditions and models: where two differ, it is by
what the models say, and a condition that changes nothing writes the same.

Letters: B texts, S tokens of a prompt, T tokens written, M models, D d_model, R rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.changes.rows import Rows
from pipeline.analysis.generation import Choose, Sampled, Step, generate, greedy
from pipeline.analysis.splicing import HookedModel, Unpatched
from pipeline.analysis.steering.moves import Move
from pipeline.analysis.steering.result import Written

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Writer:
    """What every continuation shares. rows_of: rows of both models [R, M, D] with their lines;
    uniform_PST: numbers in [0, 1) of each prompt, sample and token; decode: text of tokens, cut
    where a document ends."""

    models: tuple[HookedModel, HookedModel]
    rows_of: Callable[[Tensor], Rows]
    uniform_PST: Tensor
    temperature: float
    batch_texts: int
    n_tokens: int
    unpatched: Unpatched
    decode: Callable[[list[int]], str]
    device: torch.device

    def write(self, prompt: int, ids_S: Ids, m: int, moves: Sequence[Move]) -> list[Written]:
        """What model `m` writes after a prompt under each move."""
        n = self.uniform_PST.shape[1]
        written = self._texts(ids_S, m, moves, None)
        sampled = self._texts(ids_S, m, moves, self.uniform_PST[prompt])  # n of each move in turn
        return [
            {"greedy": text, "samples": sampled[n * at : n * (at + 1)]}
            for at, text in enumerate(written)
        ]

    def _texts(
        self, ids_S: Ids, m: int, moves: Sequence[Move], uniform_ST: Tensor | None
    ) -> list[str]:
        """The texts of each move in turn: one by greedy decoding, or one per row of numbers."""
        repeats = 1 if uniform_ST is None else len(uniform_ST)
        step, texts = max(1, self.batch_texts // max(1, repeats)), list[str]()
        for at in range(0, len(moves) if repeats else 0, step):
            part = moves[at : at + step]
            choose: Choose = greedy
            if uniform_ST is not None:
                choose = Sampled(uniform_ST.repeat(len(part), 1), self.temperature)
            text = torch.from_numpy(ids_S)[None].repeat(len(part) * repeats, 1)
            written = generate(
                self.models,
                m,
                text.to(self.device),
                lambda step, part=part: self.replaced(step, m, part, repeats),
                choose,
                n_tokens=self.n_tokens,
                unpatched=self.unpatched,
            )
            texts += [self.decode(ids) for ids in written.tolist()]
        return texts

    def replaced(self, step: Step, m: int, moves: Sequence[Move], repeats: int) -> Tensor:
        """[B, S, D] the streams with each move added to its own texts."""
        x_BSMD = torch.stack([hidden.float() for hidden in step.hidden_M], dim=2)
        rows = self.rows_of(x_BSMD.flatten(0, 1))
        n_rows = repeats * x_BSMD.shape[1]
        added = [
            move(Rows(rows.x_BMD[at : at + n_rows], rows.f_BL[at : at + n_rows]))
            for move, at in zip(moves, range(0, len(rows.x_BMD), n_rows), strict=True)
        ]
        own = step.hidden_M[m]
        return own + torch.cat(added).view(x_BSMD[:, :, 0].shape).to(own.dtype)


def stays(rows: Rows) -> Tensor:
    """The move that leaves a model as it is."""
    return torch.zeros_like(rows.x_BMD[:, 0])
