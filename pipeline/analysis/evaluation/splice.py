"""A model continued from the crosscoder's reconstruction, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.groups import Cells
from pipeline.analysis.splicing import (
    Floats,
    HookedModel,
    Predictions,
    Unpatched,
    patched,
    prediction_mask,
    rebuilt_rows,
)
from pipeline.crosscoder import Crosscoder

PATCHES = ("clean", "spliced", "zero", "mean", "spliced_with_bos", "zero_with_bos")
"""What stands at the hook point: the model's own activation, the reconstruction, zeros, the mean
over held-out rows. BOS keeps its own activation, on which no crosscoder is trained, except in the
last two, where it is replaced as every other token is. Outlier rows that the dump left out keep
theirs everywhere."""


@dataclass(frozen=True)
class SpliceSums:
    """Sums in nats over predictions. n_QC predictions; ce_MQCP, kl_MQCP per model and patch.

    KL is KL(clean || patched). Sequence q counts in the cells of its predicted tokens.
    """

    n_QC: Floats
    ce_MQCP: Floats
    kl_MQCP: Floats
    cells: Cells


@torch.inference_mode()
def reconstructed(crosscoder: Crosscoder, hidden_M: list[Tensor]) -> Tensor:
    """[Q, S, M, D] crosscoder reconstruction of both models' streams, in float32, raw units."""
    stacked = torch.stack([h.to(crosscoder.W_dec.device).float() for h in hidden_M], dim=2)
    return rebuilt_rows(crosscoder, stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])


@torch.inference_mode()
def splice_batch(
    models: tuple[HookedModel, HookedModel],
    crosscoder: Crosscoder,
    token_ids: Tensor,
    cell_QS: Tensor,
    cells: Cells,
    *,
    mean_MD: Tensor,
    unpatched: Unpatched,
) -> SpliceSums:
    """The sums of one batch: token_ids and cell_QS [Q, S]. Lower blocks run once per model."""
    hidden_M = [model.residual(token_ids) for model in models]
    rebuilt = reconstructed(crosscoder, hidden_M)
    starts = unpatched.starts(token_ids)
    outliers = unpatched.outliers(hidden_M) & ~starts
    kept = starts | outliers
    mask = prediction_mask(kept, starts)
    where = Predictions(token_ids[:, 1:], cell_QS[:, 1:], mask, n_cells=cells.n)
    ce, kl = [], []
    for m, (model, hidden) in enumerate(zip(models, hidden_M, strict=True)):
        spliced, zero = rebuilt[:, :, m].to(hidden.device), torch.zeros_like(hidden)
        mean = mean_MD[m].to(hidden.device).expand_as(hidden)
        replacements = [
            *((r, kept) for r in (spliced, zero, mean)),
            (spliced, outliers),
            (zero, outliers),
        ]
        ce_PQC, kl_PQC = where.sums(
            model.head,
            model.continued(token_ids, hidden),
            (model.continued(token_ids, patched(hidden, *each)) for each in replacements),
        )
        ce.append(np.moveaxis(ce_PQC, 0, -1))
        kl.append(np.moveaxis(kl_PQC, 0, -1))
    return SpliceSums(where.counts(), np.stack(ce), np.stack(kl), cells)


def merge(parts: Sequence[SpliceSums]) -> SpliceSums:
    """One SpliceSums over all sequences of the batches, in order."""
    return SpliceSums(
        np.concatenate([p.n_QC for p in parts]),
        np.concatenate([p.ce_MQCP for p in parts], axis=1),
        np.concatenate([p.kl_MQCP for p in parts], axis=1),
        parts[0].cells,
    )
