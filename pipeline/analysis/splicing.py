"""Cross entropy and KL of both models with their residual stream replaced at the hook point.

Letters: Q sequences, S positions, V vocabulary, M models, D d_model, C cells, P patches, N tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from pipeline.analysis.losses import Head, token_losses
from pipeline.config.models import HookPointConfig, ModelName
from pipeline.crosscoder import Crosscoder
from pipeline.models.configuration import shape_of
from pipeline.models.continuation import Continuation
from pipeline.models.hook import continued, head_logits, residual
from pipeline.models.load import load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_ELEMENTS = 2**26
"""Rows x latents held at once: 256 MiB, whatever the width of the dictionary."""

Floats = NDArray[np.float64]
Residual = Callable[[Tensor], Tensor]
"""token_ids [Q, S] -> residual stream at the hook point [Q, S, D]."""
Continued = Callable[[Tensor, Tensor], Tensor]
"""token_ids [Q, S], stream at the hook point [Q, S, D] -> after the last block [Q, S, D]."""


class Reading(Protocol):
    """A reading of texts that goes on from where it stands: see `Continuation`."""

    def residual(self, token_ids: Tensor) -> Tensor: ...
    def logits(self, token_ids: Tensor, replace: Callable[[Tensor], Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class HookedModel:
    """A language model as the splice sees it: below the hook point, above it, and its head; and a
    new reading of texts, to go on with token by token."""

    residual: Residual
    continued: Continued
    head: Head
    begin: Callable[[], Reading]


@dataclass(frozen=True)
class Unpatched:
    """The positions that give no activation row, which no patch may touch: the rule is that of
    `pipeline.harvest`.

    start_id: the token that begins sequences, None where nothing does
    norm_limits: norm of each model's rows beyond which a row is left out (`dump.max_norm_ratio`);
    None where all are kept
    """

    start_id: int | None
    norm_limits: tuple[float, float] | None

    def starts(self, token_ids: Tensor) -> Tensor:
        """[Q, S] the first position, and the token that begins sequences wherever it stands."""
        kept = torch.zeros_like(token_ids, dtype=torch.bool)
        if self.start_id is not None:
            kept |= token_ids == self.start_id
        kept[:, :1] = True
        return kept

    def outliers(self, hidden_M: Sequence[Tensor]) -> Tensor:
        """[Q, S] where the streams [Q, S, D] of base and IT, rounded as a store keeps them, exceed
        the limit in either; the start may be among them."""
        found = torch.zeros(hidden_M[0].shape[:-1], dtype=torch.bool, device=hidden_M[0].device)
        for hidden, limit in zip(hidden_M, self.norm_limits or (), strict=False):
            norms = torch.linalg.vector_norm(hidden.bfloat16().float(), dim=-1)
            found |= (norms > limit).to(found.device)
        return found


def prediction_mask(kept: Tensor, starts: Tensor) -> Tensor:
    """[Q, S - 1] which next-token predictions count: none from a position that is `kept` [Q, S]
    unpatched, which would tell nothing, and none of one of the `starts` [Q, S]."""
    return ~kept[:, :-1] & ~starts[:, 1:]


def patched(hidden: Tensor, replacement: Tensor, kept: Tensor) -> Tensor:
    """[Q, S, D]: `replacement` everywhere except where `kept` [Q, S], which keeps `hidden`."""
    return torch.where(kept[..., None], hidden, replacement.to(hidden.dtype))


def row_pieces(rows: Tensor, n_latents: int) -> tuple[Tensor, ...]:
    """Rows [B, ...] in pieces whose latents may be held at once."""
    return rows.split(max(1, MAX_ELEMENTS // n_latents))


def rebuilt_rows(crosscoder: Crosscoder, rows: Tensor) -> Tensor:
    """Reconstruction of rows [B, M, D], in raw units."""
    pieces = row_pieces(rows, crosscoder.n_latents)
    return torch.cat([crosscoder.reconstruct(piece) for piece in pieces])


class Predictions:
    """The predictions of a batch that count: their targets, and the (sequence, cell) each adds to.

    targets, cells, mask: [Q, S - 1]; cells are numbers below n_cells
    """

    def __init__(self, targets: Tensor, cells: Tensor, mask: Tensor, *, n_cells: int) -> None:
        self._n_sequences, self._n_cells = targets.shape[0], n_cells
        self._at = pad(mask, (0, 1)).flatten().nonzero()[:, 0]  # among all Q S positions
        self._targets = targets[mask].long()
        sequence = torch.arange(targets.shape[0], device=cells.device)[:, None].expand_as(cells)
        self._keys = (sequence * n_cells + cells)[mask]

    def counts(self) -> Floats:
        """[Q, C] predictions per sequence and cell."""
        return self._gather(torch.ones_like(self._keys, dtype=torch.float64))

    def sums(self, head: Head, clean: Tensor, patched: Iterable[Tensor]) -> tuple[Floats, Floats]:
        """Sums [1 + P, Q, C] of cross entropy and KL(clean || it) in nats, of the clean stream and
        of the P patched ones; streams [Q, S, D] after the last block."""
        rows = (self._rows(stream) for stream in patched)
        losses = self._gather(token_losses(head, self._targets, self._rows(clean), rows))
        return losses[:, 0], losses[:, 1]

    def _rows(self, stream: Tensor) -> Tensor:
        """[N, D] the positions that predictions are made from."""
        return stream.flatten(0, 1)[self._at.to(stream.device)]

    def _gather(self, values: Tensor) -> Floats:
        """[..., Q, C] sums of values [..., N]."""
        n, device = self._n_sequences * self._n_cells, values.device
        sums = torch.zeros(*values.shape[:-1], n, dtype=torch.float64, device=device)
        sums.index_add_(-1, self._keys.to(device), values.double())
        return sums.unflatten(-1, (self._n_sequences, self._n_cells)).cpu().numpy()


def hooked_pair(
    models_dir: Path, hook_point: HookPointConfig, device: torch.device, room_bytes: int
) -> tuple[HookedModel, HookedModel]:
    """The base and the IT model in `models_dir`. room_bytes: as in `losses.Head`"""
    return (
        hooked_model(models_dir, "base", hook_point, device, room_bytes),
        hooked_model(models_dir, "it", hook_point, device, room_bytes),
    )


def hooked_model(
    models_dir: Path,
    name: ModelName,
    hook_point: HookPointConfig,
    device: torch.device,
    room_bytes: int,
) -> HookedModel:
    """One of the two, whole, at the layer, type and attention of `hook_point`."""
    model = load_model(
        models_dir,
        name,
        dtype=hook_point.dtype,
        attention=hook_point.attention,
        device=device,
    )
    return HookedModel(
        residual=partial(residual, model, hook_point.layer),
        continued=partial(continued, model, hook_point.layer),
        head=head_of(model, room_bytes),
        begin=partial(Continuation, model, hook_point.layer),
    )


def head_of(model: PreTrainedModel, room_bytes: int) -> Head:
    """The head of a model. room_bytes: as in `losses.Head`"""
    n_vocab = shape_of(model.config, model.config.model_type).vocab_size
    return Head(partial(head_logits, model), n_vocab, room_bytes)


def sample_sequences(
    source_Q: NDArray[np.integer], n_sequences: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Indices, ascending, of at most `n_sequences` sequences, the same number from each source
    as far as there are enough."""
    sources = np.unique(source_Q)
    share = -(-n_sequences // len(sources))
    chosen = [random.permutation(np.flatnonzero(source_Q == source))[:share] for source in sources]
    return np.sort(np.concatenate(chosen))[: max(n_sequences, len(sources))]
