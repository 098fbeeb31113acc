"""Cross entropy and KL of both models with their residual stream replaced at the hook point.

Letters: Q sequences, S positions, V vocabulary, M models, D d_model, C cells, P patches, N tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from pipeline.config.models import HookPointConfig, ModelName
from pipeline.models.continuation import Continuation
from pipeline.models.hook import logits_with, residual
from pipeline.models.load import load_model

CHUNK_LOGITS = 2**25
"""Logits widened to float32 at once: 128 MiB per copy."""

Floats = NDArray[np.float64]
Residual = Callable[[Tensor], Tensor]
"""token_ids [Q, S] -> residual stream at the hook point [Q, S, D]."""
LogitsWith = Callable[[Tensor, Tensor], Tensor]
"""token_ids [Q, S], residual stream [Q, S, D] -> logits [Q, S, V]."""


class Reading(Protocol):
    """A reading of texts that goes on from where it stands: see `Continuation`."""

    def residual(self, token_ids: Tensor) -> Tensor: ...
    def logits(self, token_ids: Tensor, replace: Callable[[Tensor], Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class HookedModel:
    """A language model as the splice sees it: below the hook point and above it; and a new reading
    of texts, to go on with token by token."""

    residual: Residual
    logits_with: LogitsWith
    begin: Callable[[], Reading]


def never_patched(token_ids: Tensor, start_id: int | None) -> Tensor:
    """[Q, S] the positions that give no activation row, which no patch may touch: the first, and
    the token that begins sequences wherever it stands (none where sequences begin with nothing).
    The rule is that of `pipeline.harvest.census.rows_of`."""
    kept = torch.zeros_like(token_ids, dtype=torch.bool)
    if start_id is not None:
        kept |= token_ids == start_id
    kept[:, :1] = True
    return kept


def prediction_mask(kept: Tensor) -> Tensor:
    """[Q, S - 1] which next-token predictions count, by the positions `kept` [Q, S] unpatched:
    none from such a position, which would tell nothing, and none of such a token."""
    return ~kept[:, :-1] & ~kept[:, 1:]


def patched(hidden: Tensor, replacement: Tensor, kept: Tensor) -> Tensor:
    """[Q, S, D]: `replacement` everywhere except where `kept` [Q, S], which keeps `hidden`."""
    return torch.where(kept[..., None], hidden, replacement.to(hidden.dtype))


class Predictions:
    """The predictions of a batch that count: their targets, and the (sequence, cell) each adds to.

    targets, cells, mask: [Q, S - 1]; cells are numbers below n_cells
    """

    def __init__(self, targets: Tensor, cells: Tensor, mask: Tensor, *, n_cells: int) -> None:
        self._n_sequences, self._n_cells = targets.shape[0], n_cells
        self._mask = mask
        self._targets = targets[mask].long()
        sequence = torch.arange(targets.shape[0], device=cells.device)[:, None].expand_as(cells)
        self._keys = (sequence * n_cells + cells)[mask]

    def counts(self) -> Floats:
        """[Q, C] predictions per sequence and cell."""
        return self._gather(torch.ones_like(self._keys, dtype=torch.float64))

    def sums(self, logits: Tensor, clean: Tensor | None) -> tuple[Floats, Floats]:
        """Sums [Q, C] of cross entropy and KL(clean || logits) in nats, from [Q, S, V]."""
        ce, kl = token_losses(
            logits[:, :-1][self._mask],
            None if clean is None else clean[:, :-1][self._mask],
            self._targets,
        )
        return self._gather(ce), self._gather(kl)

    def _gather(self, values: Tensor) -> Floats:
        sums = torch.zeros(
            self._n_sequences * self._n_cells, dtype=torch.float64, device=values.device
        )
        sums.index_add_(0, self._keys.to(values.device), values.double())
        return sums.reshape(self._n_sequences, self._n_cells).cpu().numpy()


def token_losses(
    logits_NV: Tensor, clean_NV: Tensor | None, targets_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Per token [N] in nats: cross entropy, and KL(clean || logits), 0 where clean is None."""
    step = max(1, CHUNK_LOGITS // logits_NV.shape[1])
    ce, kl = [], []
    for at in range(0, logits_NV.shape[0], step):
        log_p = log_softmax(logits_NV[at : at + step].float(), dim=-1)
        ce.append(-log_p.gather(1, targets_N[at : at + step, None])[:, 0])
        if clean_NV is None:
            kl.append(torch.zeros_like(ce[-1]))
        else:
            log_clean = log_softmax(clean_NV[at : at + step].float(), dim=-1)
            kl.append(kl_div(log_p, log_clean, log_target=True, reduction="none").sum(dim=-1))
    return torch.cat(ce), torch.cat(kl)


def hooked_pair(
    models_dir: Path, hook_point: HookPointConfig, device: torch.device
) -> tuple[HookedModel, HookedModel]:
    """The base and the IT model in `models_dir`."""
    return (
        hooked_model(models_dir, "base", hook_point, device),
        hooked_model(models_dir, "it", hook_point, device),
    )


def hooked_model(
    models_dir: Path, name: ModelName, hook_point: HookPointConfig, device: torch.device
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
        logits_with=partial(logits_with, model, hook_point.layer),
        begin=partial(Continuation, model, hook_point.layer),
    )


def sample_sequences(
    source_Q: NDArray[np.integer], n_sequences: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Indices, ascending, of at most `n_sequences` sequences, the same number from each source
    as far as there are enough."""
    sources = np.unique(source_Q)
    share = -(-n_sequences // len(sources))
    chosen = [random.permutation(np.flatnonzero(source_Q == source))[:share] for source in sources]
    return np.sort(np.concatenate(chosen))[: max(n_sequences, len(sources))]
