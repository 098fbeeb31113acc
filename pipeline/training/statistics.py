"""What is measured on the rows before training. Letters: B rows, M models, D d_model."""

from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from pipeline.distributed import ALONE, Ranks
from pipeline.errors import NonFiniteError
from pipeline.labels import MODELS
from pipeline.training.stream import Stream

MEDIAN_ROWS = 4096
MEDIAN_ITERATIONS = 100
MEDIAN_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Normalisation:
    """Sums over rows in float64, per model.

    scale_M: sqrt(D) / mean ||x||, so that rows have norm sqrt(D) on average (Anthropic, April
        2024 update); mean_MD: the mean raw activation; n_rows: rows measured
    """

    scale_M: Tensor
    mean_MD: Tensor
    n_rows: int


def measure_normalisation(stream: Stream, ranks: Ranks = ALONE) -> Normalisation:
    """Measure on every row of `stream`. Running sums in bf16 or fp32 lose digits over 50M rows.

    Each rank sums whole batches of its own; the batches' sums are added in the order of the
    batches, so that the result has the same bits for any number of ranks.
    """
    norm_sum_M, sum_MD, n_rows = torch.zeros(()), torch.zeros(()), 0
    d_model = 0
    for batch in _dealt(stream, ranks).batches():
        x_BMD = batch.x_raw.double()
        norms_M = torch.linalg.vector_norm(x_BMD, dim=-1).sum(0)
        for one_M in ranks.gathered(norms_M):
            norm_sum_M = norm_sum_M + one_M
        for one_MD in ranks.gathered(x_BMD.sum(0)):
            sum_MD = sum_MD + one_MD
        n_rows += len(batch)
        d_model = x_BMD.shape[-1]
        if not bool(torch.isfinite(norm_sum_M).all()):
            raise NonFiniteError(
                f"rows {batch.start_row} to {batch.stop_row} of the shuffled store hold "
                "activations that are not finite: run `dvc repro -f dump`, and look at the "
                "model's precision (hook_point.dtype)"
            )
    if bool((norm_sum_M == 0).any()):
        names = MODELS if len(norm_sum_M) == len(MODELS) else ("the difference",)
        zero = [name for name, norm in zip(names, norm_sum_M.tolist(), strict=True) if norm == 0]
        raise NonFiniteError(
            f"all {n_rows:,} rows that the factors are measured on are 0 in {' and '.join(zero)}, "
            "expected activations: look at the weights of the models, or name another layer "
            "(hook_point.layer)"
        )
    scale_M = d_model**0.5 / (norm_sum_M / n_rows)
    return Normalisation(scale_M.cpu(), (sum_MD / n_rows).cpu(), n_rows)


def _dealt(stream: Stream, ranks: Ranks) -> Stream:
    """As many batches at once as there are ranks, of which this rank reads its own."""
    n_rows = stream.batch_rows

    def own(n: int) -> range:
        return range(min(n, ranks.rank * n_rows), min(n, (ranks.rank + 1) * n_rows))

    return replace(stream, batch_rows=n_rows * ranks.size, part=own)


def geometric_median(x_BP: Tensor) -> Tensor:
    """The point [P] with the least summed distance to the rows x_BP, by Weiszfeld's iteration."""
    rows = x_BP.double()
    median = rows.mean(0)
    for _ in range(MEDIAN_ITERATIONS):
        weights = 1.0 / torch.linalg.vector_norm(rows - median, dim=-1).clamp_min(1e-12)
        moved = (weights[:, None] * rows).sum(0) / weights.sum()
        settled = torch.linalg.vector_norm(moved - median) <= MEDIAN_TOLERANCE * moved.norm()
        median = moved
        if bool(settled):
            break
    return median


def first_rows(stream: Stream, n_rows: int) -> Tensor:
    """A copy of the first `n_rows` rows of the stream (fewer where it is shorter), float32."""
    n_batches = -(-n_rows // stream.batch_rows)
    batches = islice(stream.batches(), n_batches)
    return torch.cat([batch.x_raw.float() for batch in batches])[:n_rows]
