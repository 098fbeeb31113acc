"""Which part of the dictionary carries the fine-tuning? A causal test in the IT model.

The base model's activation at the hook point, moved by the decoder differences of a set S of
latents, goes on through the IT model's upper blocks:

    h_S = h_base + sum_{j in S} f_j (d_j^it - d_j^base)      (raw units)

and each position's KL(IT || IT continued from h_S) tells how far that is from the real IT model.
S empty is the base model's activation alone; all latents, the decoder biases' difference and the
difference of the two reconstruction errors together are exactly h_it, and the KL is 0.
Source: Minder, Dumas et al. 2025, arXiv 2504.02922, section on causal effects.

Letters: Q sequences, S positions, D d_model, L latents, J latents of a set, P patches, G groups.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.groups import cells_of
from pipeline.analysis.splicing import (
    HookedModel,
    Predictions,
    Unpatched,
    patched,
    prediction_mask,
    row_pieces,
)
from pipeline.crosscoder import Crosscoder
from pipeline.labels import TEMPLATE

Floats = NDArray[np.float64]

GROUPS = ("outside", "first", "later")
"""Groups of predicted tokens: in no assistant turn, among a turn's first tokens, after them."""


@dataclass(frozen=True)
class Batch:
    """Sequences of a batch. token_ids [Q, S]; group [Q, S] numbers GROUPS; is_template [Q, S];
    cells [Q, S] as in `cells`."""

    token_ids: Tensor
    group: Tensor
    is_template: Tensor
    cells: Tensor

    @classmethod
    def of(
        cls,
        columns: Mapping[str, NDArray[Any]],
        group_QS: NDArray[np.integer],
        device: torch.device,
    ) -> Self:
        """Of `token_id`, `source` and `token_class` of the token store."""
        is_template_QS = columns["token_class"] == TEMPLATE
        cells_QS = cells_of(columns["source"], columns["token_class"])
        group, is_template, cells = (
            torch.from_numpy(values).to(device) for values in (group_QS, is_template_QS, cells_QS)
        )
        token_ids = torch.from_numpy(columns["token_id"]).long().to(device)
        return cls(token_ids, group, is_template, cells)


@dataclass(frozen=True)
class Streams:
    """Both models' residual streams at the hook point, [Q, S, D] in float32, raw units."""

    base: Tensor
    it: Tensor


Replacements = Callable[[Streams, Batch], Iterator[tuple[str, Tensor]]]
"""(name, activation [Q, S, D] that the IT model goes on from) of every patch, always in one order.
"""


@dataclass(frozen=True)
class CausalSums:
    """Sums over predictions: n_QG, and KL(IT || patched) in nats [Q, G] by the patch's name."""

    n_QG: Floats
    kl_QG: Mapping[str, Floats]


@torch.inference_mode()
def causal_batch(
    models: tuple[HookedModel, HookedModel],
    replacements: Replacements,
    batch: Batch,
    unpatched: Unpatched,
) -> CausalSums:
    """The sums of one batch. Lower blocks run once per model, the IT model's upper blocks once per
    patch and once for the clean model. Positions that give no row keep
    the IT model's own activation."""
    base, it = models
    hidden, of_base = it.residual(batch.token_ids), base.residual(batch.token_ids)
    streams = Streams(of_base.float(), hidden.float())
    starts = unpatched.starts(batch.token_ids)
    kept = starts | unpatched.outliers([of_base, hidden])
    where = Predictions(
        batch.token_ids[:, 1:],
        batch.group[:, 1:],
        prediction_mask(kept, starts),
        n_cells=len(GROUPS),
    )
    names: list[str] = []

    def spliced() -> Iterator[Tensor]:
        for name, replacement in replacements(streams, batch):
            names.append(name)
            moved = patched(hidden, replacement.to(hidden.device), kept)
            yield it.continued(batch.token_ids, moved)

    clean = it.continued(batch.token_ids, hidden)
    kl_PQG = where.sums(it.head, clean, spliced())[1][1:]
    return CausalSums(where.counts(), dict(zip(names, kl_PQG, strict=True)))


def merge(parts: list[CausalSums]) -> CausalSums:
    """One CausalSums over the sequences of all batches, in order."""
    return CausalSums(
        np.concatenate([part.n_QG for part in parts]),
        {name: np.concatenate([part.kl_QG[name] for part in parts]) for name in parts[0].kl_QG},
    )


class LatentPatches:
    """The replacements that a crosscoder makes, for named sets of latents.

    none           h_base
    <set>          h_base + sum over the set of f_j (d_j^it - d_j^base)
    bias           h_base + b_it - b_base
    full           h_base + all latents + bias, the difference of the reconstructions
    template       the same at template tokens, h_base elsewhere
    error          h_base + the difference of the reconstruction errors
    reconstruction the IT reconstruction itself, which needs no h_base
    everything     full + error: h_it again, to rounding
    """

    def __init__(self, crosscoder: Crosscoder, sets: Mapping[str, NDArray[np.int64]]) -> None:
        device = crosscoder.W_dec.device
        self._crosscoder = crosscoder
        self._sets = {name: torch.from_numpy(set_J).to(device) for name, set_J in sets.items()}
        self._difference_LD = crosscoder.decoder_difference()
        bias = crosscoder.b_dec.detach() / crosscoder.activation_scale[:, None]
        self._bias_D = bias[1] - bias[0]

    def __call__(self, streams: Streams, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        base = streams.base.to(self._bias_D.device)
        rows = torch.stack([base, streams.it.to(base.device)], dim=2).flatten(0, 1)
        moved, rebuilt_it, full = self._moves(rows, base.shape)
        error = streams.it.to(base.device) - base - full
        template = batch.is_template.to(base.device)[..., None]
        yield "none", base
        for name in self._sets:
            yield name, base + moved[name]
        yield "bias", base + self._bias_D
        yield "full", base + full
        yield "template", base + torch.where(template, full, torch.zeros_like(full))
        yield "error", base + error
        yield "reconstruction", rebuilt_it
        yield "everything", base + full + error

    def _moves(self, rows: Tensor, shape: torch.Size) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Each set's move, the IT reconstruction and the reconstructions' difference [Q, S, D]."""
        crosscoder, parts = self._crosscoder, []
        for part in row_pieces(rows, crosscoder.n_latents):
            f_BL = crosscoder.encode(crosscoder.normalise(part))
            rebuilt = crosscoder.denormalise(crosscoder.decode(f_BL))
            moves = [f_BL[:, set_J] @ self._difference_LD[set_J] for set_J in self._sets.values()]
            parts.append([*moves, rebuilt[:, 1], rebuilt[:, 1] - rebuilt[:, 0]])
        whole = [torch.cat(pieces).view(shape) for pieces in zip(*parts, strict=True)]
        return dict(zip(self._sets, whole, strict=False)), whole[-2], whole[-1]
