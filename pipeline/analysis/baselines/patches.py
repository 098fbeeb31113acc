"""The baselines in the causal test's terms: base activations moved by a mean or by a diff-SAE.

Letters: Q sequences, S positions, D d_model, C cells.
"""

from collections.abc import Iterator

from torch import Tensor

from pipeline.analysis.causal.patches import Batch, LatentPatches, Streams
from pipeline.analysis.splicing import rebuilt_rows
from pipeline.crosscoder import Crosscoder


class BaselinePatches:
    """none, mean, cell_mean, diff_sae: h_base + the estimate of the difference; full: the
    crosscoder's, the same as in the causal test.

    mean_D, mean_CD: mean difference over training rows, raw units
    """

    def __init__(
        self, crosscoder: Crosscoder, diff_sae: Crosscoder, mean_D: Tensor, mean_CD: Tensor
    ) -> None:
        self._crosscoder = LatentPatches(crosscoder, {})
        self._diff_sae, self._mean_D, self._mean_CD = diff_sae, mean_D, mean_CD

    def __call__(self, streams: Streams, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        base = streams.base.to(self._mean_D.device)
        yield "mean", base + self._mean_D
        yield "cell_mean", base + self._mean_CD[batch.cells.to(base.device)]
        yield "diff_sae", base + self._rebuilt(streams.it.to(base.device) - base)
        for name, replacement in self._crosscoder(streams, batch):
            if name in ("none", "full"):
                yield name, replacement

    def _rebuilt(self, delta: Tensor) -> Tensor:
        """The diff-SAE's reconstruction [Q, S, D] of the difference."""
        return rebuilt_rows(self._diff_sae, delta.flatten(0, 1)[:, None]).view(delta.shape)
