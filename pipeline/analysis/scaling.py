"""Latent scaling: how much of each latent's direction a model really carries, for all latents in
one pass (Minder et al. 2025, arXiv 2504.02922).

For latent j with activations f_j, anchored at one model's decoder d_j, and a model m,

    beta_j^m = <d_j, sum_t f_j y^m> / (||d_j||^2 sum_t f_j^2)

the least-squares coefficient of f_j d_j in y^m, where y^m is the reconstruction x_hat^m (nu^r), or
the error with the latent put back, h^m - x_hat^m + f_j d_j^m (nu^eps). With e^m = h^m - x_hat^m,

    beta_eps_j^m = sum_t f_j <d_j, e^m> / (||d_j||^2 sum_t f_j^2)  +  <d_j, d_j^m> / ||d_j||^2

so that nothing of shape latents x rows x d_model is ever held. Everything is in the normalised
space of the crosscoder. Anchored at IT, nu = beta^base / beta^IT; anchored at base, the inverse.

Letters: B rows, M models, D d_model, L latents, A anchors (base, IT), G blocks of documents,
Y targets (error, reconstruction). `member_GB` is 1 where a row belongs to a block.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.heldout import as_float, spread_blocks
from pipeline.crosscoder import Crosscoder
from pipeline.progress import Progress
from pipeline.store import StoreReader

Floats = NDArray[np.float64]
TARGETS = ("eps", "r")
MAX_ELEMENTS = 2**26
"""Rows x latents held at once: 256 MiB per array of them, whatever the width of the dictionary."""


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
        self._crosscoder, self._random = crosscoder, random
        self._W_MLD = W_LMD.transpose(0, 1).contiguous()
        wide = W_LMD.double()
        self._gram_AML = torch.einsum("lad,lmd->aml", wide, wide)
        L, device = crosscoder.n_latents, W_LMD.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, L, dtype=torch.float64, device=device)

        self._square, self._n_active = zeros(n_blocks), zeros(n_blocks)
        self._product, self._null = zeros(n_blocks, 2, 2, 2), zeros(n_blocks, 2, 2)

    def add(self, x_BMD: Tensor, block_B: Tensor) -> None:
        """Add normalised rows; block_B [B] numbers the block of documents each belongs to."""
        n_rows = max(1, MAX_ELEMENTS // self._crosscoder.n_latents)
        for part, block in zip(x_BMD.split(n_rows), block_B.split(n_rows), strict=True):
            self._add(part, block)

    def _add(self, x_BMD: Tensor, block_B: Tensor) -> None:
        f_BL = self._crosscoder.encode(x_BMD)
        x_hat = self._crosscoder.decode(f_BL)
        member_GB = torch.zeros(len(self._square), len(x_BMD), dtype=f_BL.dtype, device=f_BL.device)
        member_GB[block_B, torch.arange(len(x_BMD), device=block_B.device)] = 1
        drawn = torch.randperm(len(x_BMD), generator=self._random).to(x_BMD.device)
        self._square += member_GB @ f_BL.square()
        self._n_active += member_GB @ (f_BL > 0).to(f_BL.dtype)
        for y, target in enumerate((x_BMD - x_hat, x_hat)):
            for a in range(2):
                for m in range(2):
                    inner_BL = target[:, m] @ self._W_MLD[a].T
                    self._product[:, y, a, m] += member_GB @ (f_BL * inner_BL)
                    if a != m:
                        other_BL = self._other_row(y, a, f_BL, inner_BL, drawn)
                        self._null[:, y, a] += member_GB @ (f_BL * other_BL)

    def _other_row(self, y: int, a: int, f_BL: Tensor, inner_BL: Tensor, drawn_B: Tensor) -> Tensor:
        """[B, L] <d_j^a, y> of another token's row, which brings its own latent back with it."""
        if TARGETS[y] == "r":
            return inner_BL[drawn_B]
        return inner_BL[drawn_B] + f_BL[drawn_B] * self._gram_AML[a, 1 - a].to(f_BL.dtype)

    def finish(self) -> ScalingSums:
        arrays = (self._square, self._n_active, self._product, self._null, self._gram_AML)
        return ScalingSums(*(array.cpu().numpy() for array in arrays))


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
    crosscoder: Crosscoder,
    reader: StoreReader,
    *,
    n_rows: int,
    batch_rows: int,
    n_blocks: int,
    random: torch.Generator,
) -> ScalingSums:
    """One pass over `n_rows` held-out rows; documents share `n_blocks` blocks by their number."""
    device = crosscoder.W_dec.device
    running = ScalingPass(crosscoder, n_blocks, random)
    blocks = spread_blocks(reader.n_rows, n_rows, batch_rows)
    total = sum(stop - start for start, stop in blocks)
    with Progress("latent_scaling", total=total, unit="rows") as progress:
        for start, stop in blocks:
            x_raw = as_float(reader.read("activations", start, stop), device)
            block = torch.from_numpy(reader.read("document", start, stop) % n_blocks)
            running.add(crosscoder.normalise(x_raw), block.to(device))
            progress.advance(stop - start)
    return running.finish()


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
