"""Null pairs: what the list says of two models that differ in nothing but rounding.

    same      the base's rows, twice
    rows      the base's rows, and the same moved by up to one step of bfloat16 in every coordinate
    weights   the base, and the base with every weight rounded to a neighbour in bfloat16, up or
              down at random so that the mean is kept; both compute in float32

Rows are kept in bfloat16, as a store keeps them. Changes are looked for on the rows of one half of
the sequences and tested on those of the other; every sequence counts as a document.

Letters: Q sequences, S positions, T rows, M models, D d_model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.changes.judge import judge
from pipeline.analysis.changes.lines import STEP_EXPONENT
from pipeline.analysis.changes.measure import Changes, measure
from pipeline.analysis.changes.search import find_lines
from pipeline.analysis.edits.alone import rows_with
from pipeline.analysis.splicing import Unpatched
from pipeline.config.changes import ChangesConfig
from pipeline.runtime import generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class RowsInMemory:
    """Rows that are read as a store's are. columns: name -> [T, ...]"""

    columns: dict[str, NDArray]

    @property
    def n_rows(self) -> int:
        return len(self.columns["activations"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray:
        return self.columns[name][start:stop]


@torch.no_grad()
def null_lists(
    model: "PreTrainedModel",
    token_ids: NDArray[np.integer],
    layer: int,
    start_id: int | None,
    section: ChangesConfig,
    seeds: range,
) -> Iterator[tuple[str, int, int]]:
    """Kind of null pair, seed, and entries of its list. Equal rows have no seed: one pair.

    token_ids: [Q, S]
    """
    starts = Unpatched(start_id, None).starts(torch.from_numpy(token_ids))
    is_row = ~starts.numpy()
    sequence_T = np.repeat(np.arange(len(token_ids)), is_row.sum(axis=1))
    base_TD = rows_with(model, None, token_ids, layer, is_row).bfloat16().float()
    yield "same", seeds.start, _n_listed(base_TD, base_TD, sequence_T, section)
    for seed in seeds:
        moved_TD = _a_step_away(base_TD, generator(seed, "null", "rows"))
        yield "rows", seed, _n_listed(base_TD, moved_TD, sequence_T, section)
        with _rounded(model, generator(seed, "null", "weights")):
            it_TD = rows_with(model, None, token_ids, layer, is_row).bfloat16().float()
        yield "weights", seed, _n_listed(base_TD, it_TD, sequence_T, section)


def _n_listed(
    base_TD: Tensor, it_TD: Tensor, sequence_T: NDArray[np.integer], section: ChangesConfig
) -> int:
    x_TMD = torch.stack([base_TD, it_TD], dim=1)
    tested_T = sequence_T % 2 == 1
    found_in = x_TMD[torch.from_numpy(~tested_T)]
    lines = find_lines(found_in, section, generator(section.seed, "changes", "starts"))
    rows = RowsInMemory(
        {"activations": x_TMD.cpu().numpy()[tested_T], "document": sequence_T[tested_T] // 2}
    )
    return int(judge(measure(Changes(lines), rows, section), section).listed.sum())


def _a_step_away(base_TD: Tensor, random: torch.Generator) -> Tensor:
    u_TD = 2 * torch.rand(base_TD.shape, generator=random).to(base_TD.device) - 1
    return (base_TD * (1 + STEP_EXPONENT * u_TD)).bfloat16().float()


@contextmanager
def _rounded(model: "PreTrainedModel", random: torch.Generator) -> Iterator[None]:
    """The model with its weights rounded at random; put back to the bit when this closes."""
    before = [weight.detach().clone() for weight in model.parameters()]
    for weight in model.parameters():
        weight.copy_(rounded_at_random(weight, random))
    try:
        yield
    finally:
        for weight, old in zip(model.parameters(), before, strict=True):
            weight.copy_(old)


def rounded_at_random(weight: Tensor, random: torch.Generator) -> Tensor:
    """Float32 values that bfloat16 holds, each the neighbour above with the probability that keeps
    the mean: 16 random bits are added below bfloat16's last one, and those below it cut off."""
    bits = weight.detach().float().contiguous().view(torch.int32)
    noise = torch.randint(0, 2**16, bits.shape, generator=random, dtype=torch.int32)
    return ((bits + noise.to(bits.device)) & -(2**16)).view(torch.float32).to(weight.dtype)
