"""Latent scaling: how much of each latent's direction a model really carries, for all latents in
one pass (Minder et al. 2025, arXiv 2504.02922).

For latent j with activations f_j, anchored at one model's decoder d_j, and a model m,

    beta_j^m = <d_j, sum_t f_j y^m> / (||d_j||^2 sum_t f_j^2)

the least-squares coefficient of f_j d_j in y^m, where y^m is the reconstruction x_hat^m (nu^r), or
the error with the latent put back, h^m - x_hat^m + f_j d_j^m (nu^eps). With e^m = h^m - x_hat^m,

    beta_eps_j^m = sum_t f_j <d_j, e^m> / (||d_j||^2 sum_t f_j^2)  +  <d_j, d_j^m> / ||d_j||^2

so that nothing of shape latents x rows x d_model is ever held. Everything is in the normalised
space of the crosscoder. Anchored at IT, nu = beta^base / beta^IT; anchored at base, the inverse.

Only the N active (row, latent) pairs are touched beyond the encoder.

Letters: B rows, M models, D d_model, L latents, A anchors (base, IT), G blocks of documents,
Y targets (error, reconstruction), N active pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.heldout import Window
from pipeline.crosscoder import Crosscoder
from pipeline.crosscoder.entries import SparseEntries
from pipeline.distributed import ALONE, Ranks

Floats = NDArray[np.float64]
TARGETS = ("eps", "r")
MAX_ELEMENTS = 2**25
"""Rows x latents held at once: 128 MiB per array of them, whatever the width of the dictionary."""


@dataclass(frozen=True)
class ScalingSums:
    """Sums per block of documents; everything else follows from them.

    square_GL: sum f_j^2; n_active_GL: rows with f_j > 0
    product_GYAML: sum f_j <d_j^a, y^m> for target y, anchor a, model m
    null_GYAL: the same with the rows of the model that is not the anchor's drawn at random
    gram_AML: <d_j^a, d_j^m>, of which the anchors' squared norms are the diagonal
    """

    square_GL: Floats
    n_active_GL: Floats
    product_GYAML: Floats
    null_GYAL: Floats
    gram_AML: Floats


class ScalingPass:
    """Accumulates ScalingSums over batches of normalised rows."""

    def __init__(self, crosscoder: Crosscoder, n_blocks: int, random: torch.Generator) -> None:
        W_LMD = crosscoder.W_dec.detach()
        self._crosscoder, self._random, self._n_blocks = crosscoder, random, n_blocks
        self._W_MLD = W_LMD.transpose(0, 1).contiguous()
        wide = W_LMD.double()
        self._gram_AML = torch.einsum("lad,lmd->aml", wide, wide)
        n_sums, device = n_blocks * crosscoder.n_latents, W_LMD.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, n_sums, dtype=torch.float64, device=device)

        self._square, self._n_active = zeros(), zeros()
        self._product, self._null = zeros(2, 2, 2), zeros(2, 2)

    def add(self, x_BMD: Tensor, block_B: Tensor) -> None:
        """Add normalised rows; block_B [B] numbers the block of documents each belongs to."""
        n = self._n_at_once
        for part, block, drawn_B in zip(
            x_BMD.split(n), block_B.split(n), self._drawn(len(x_BMD)), strict=True
        ):
            self._add(part, block, drawn_B.to(x_BMD.device))

    def skip(self, n_rows: int) -> None:
        """Leave rows to another process: the random numbers that they would take are drawn."""
        for _ in self._drawn(n_rows):
            pass

    @property
    def _n_at_once(self) -> int:
        return max(1, MAX_ELEMENTS // self._crosscoder.n_latents)

    def _drawn(self, n_rows: int) -> Iterator[Tensor]:
        """Another row for each of a batch, by its parts: a random permutation of each."""
        for part in torch.arange(n_rows).split(self._n_at_once):
            yield torch.randperm(len(part), generator=self._random)

    def _add(self, x_BMD: Tensor, block_B: Tensor, drawn_B: Tensor) -> None:
        # A sum lives at (block of documents, latent). Few pairs of row and latent are active, so
        # each is dotted with its own decoder and added where it belongs; the dense product over
        # all latents would cost as much as encoding, sixteen times over.
        f_BL = self._crosscoder.encode(x_BMD)
        flat_N = f_BL.flatten().nonzero()[:, 0]
        active = SparseEntries.at(flat_N, f_BL.flatten()[flat_N], *f_BL.shape)
        sum_N = block_B[active.row_N] * f_BL.shape[1] + active.latent_N
        x_hat = active.decode(self._crosscoder.W_dec_LP) + self._crosscoder.b_dec_P
        x_hat = x_hat.view(x_BMD.shape)
        # The null pairing: each latent's f stays, the other model's row comes from another token.
        self._square.index_add_(0, sum_N, active.values.double().square())
        self._n_active.index_add_(0, sum_N, torch.ones_like(sum_N, dtype=torch.float64))
        for y, target in enumerate((x_BMD - x_hat, x_hat)):
            for a in range(2):
                for m in range(2):
                    own_N = active.values * active.dot(target[:, m].contiguous(), self._W_MLD[a])
                    self._product[y, a, m].index_add_(0, sum_N, own_N.double())
                other_N = active.values * self._of_other_rows(y, a, target, f_BL, active, drawn_B)
                self._null[y, a].index_add_(0, sum_N, other_N.double())

    def _of_other_rows(
        self,
        y: int,
        a: int,
        target: Tensor,
        f_BL: Tensor,
        active: SparseEntries,
        drawn_B: Tensor,
    ) -> Tensor:
        """[N] <d_j^a, y^m> of another token's row of the model m that is not the anchor; the error
        brings that row's own latent back with it."""
        m = 1 - a
        inner_N = active.dot(target[drawn_B, m], self._W_MLD[a])
        if TARGETS[y] == "r":
            return inner_N
        put_back_N = f_BL[drawn_B[active.row_N], active.latent_N]
        return inner_N + put_back_N * active.per_latent(self._gram_AML[a, m])

    def finish(self, ranks: Ranks = ALONE) -> ScalingSums:
        """The sums of all processes."""
        ranks.sum(self._square, self._n_active, self._product, self._null)

        def by_block(sums: Tensor) -> Floats:
            shape = (*sums.shape[:-1], self._n_blocks, -1)
            return sums.view(shape).movedim(-2, 0).cpu().numpy()

        return ScalingSums(
            by_block(self._square),
            by_block(self._n_active),
            by_block(self._product),
            by_block(self._null),
            self._gram_AML.cpu().numpy(),
        )


@dataclass(frozen=True)
class Scaling:
    """beta_YAML: coefficient of each latent in each target and model; null_YAL: under the null
    pairing. Leading axes (resamples) may precede. NaN where a latent never fires."""

    beta_YAML: Floats
    null_YAL: Floats

    @property
    def nu(self) -> Floats:
        """[Y, A, L] the other model's coefficient over the anchor's; NaN where that is not > 0."""
        own, other = (
            self._own(),
            np.stack([self.beta_YAML[..., 0, 1, :], self.beta_YAML[..., 1, 0, :]], axis=-2),
        )
        return _ratio(other, own)

    @property
    def nu_null(self) -> Floats:
        """[Y, A, L] the same under the null pairing."""
        return _ratio(self.null_YAL, self._own())

    def _own(self) -> Floats:
        return np.stack([self.beta_YAML[..., 0, 0, :], self.beta_YAML[..., 1, 1, :]], axis=-2)


def scaling(sums: ScalingSums, weights_RG: Floats | None = None) -> Scaling:
    """Coefficients over all blocks, or over each resample of them (then with a leading axis R)."""
    weights = np.ones(sums.square_GL.shape[0]) if weights_RG is None else weights_RG
    square_L = np.tensordot(weights, sums.square_GL, axes=1)
    norm_AL = np.stack([sums.gram_AML[0, 0], sums.gram_AML[1, 1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale_AL = 1 / (norm_AL * square_L[..., None, :])
        product = np.tensordot(weights, sums.product_GYAML, axes=1)
        beta = product * scale_AL[..., None, :, None, :]
        null = np.tensordot(weights, sums.null_GYAL, axes=1) * scale_AL[..., None, :, :]
        put_back_AML = sums.gram_AML / norm_AL[:, None, :]
    beta[..., 0, :, :, :] += put_back_AML
    return Scaling(np.where(np.isfinite(beta), beta, np.nan), null)


@torch.inference_mode()
def scaling_pass(
    crosscoder: Crosscoder, window: Window, *, n_blocks: int, random: torch.Generator
) -> ScalingSums:
    """One pass over held-out rows; documents share `n_blocks` blocks by their number. Of several
    processes each gets the sums over all."""
    device = crosscoder.W_dec.device
    running = ScalingPass(crosscoder, n_blocks, random)
    batches = window.batches(device, "latent_scaling", "document")
    for number, (start, stop) in enumerate(window.blocks):
        if not window.ranks.turn(number):
            running.skip(stop - start)
            continue
        rows = next(batches)
        block = torch.from_numpy(rows.columns["document"] % n_blocks)
        running.add(crosscoder.normalise(rows.x), block.to(device))
    return running.finish(window.ranks)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
