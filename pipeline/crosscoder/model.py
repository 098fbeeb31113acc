"""The crosscoder itself: what is needed to encode and decode, whatever variant trained it.

Letters: B rows of a batch, M models, D width of a model, L latents, P = M * D (models side by
side, model 0 first).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

Layout = Literal["own", "reference", "learning"]
"""How weights lie on disk; see `pipeline.crosscoder.files` and `public_formats`."""


class Crosscoder(nn.Module):
    """One dictionary over the activations of M models at the same site.

        x_m     = activation_scale_m * raw activation of model m
        pre     = sum_m x_m W_enc_m + b_enc
        f       = pre where pre > max(threshold, 0), else 0
        x_hat_m = f W_dec_m + b_dec_m

    A threshold of 0 is a ReLU. Thresholds are per latent and on `pre` itself: a threshold theta on
    f * sum_m ||d_m|| (BatchTopK, JumpReLU) is kept here as theta / sum_m ||d_m||.

    Weights are flat in memory, W_enc_LP and W_dec_LP, so that each product is one matrix product;
    `W_enc` and `W_dec` are views in the published shapes.

    provenance: what made the crosscoder, as plain data; empty where nothing is known
    Source: Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing".
    """

    activation_scale_M: Tensor
    threshold_L: Tensor

    def __init__(
        self,
        n_models: int,
        d_model: int,
        n_latents: int,
        *,
        kind: str,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.n_models, self.d_model, self.n_latents, self.kind = n_models, d_model, n_latents, kind
        self.provenance: Mapping[str, Any] = {}

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        width = n_models * d_model
        self.W_enc_LP = nn.Parameter(zeros(n_latents, width))
        self.W_dec_LP = nn.Parameter(zeros(n_latents, width))
        self.b_enc_L = nn.Parameter(zeros(n_latents))
        self.b_dec_P = nn.Parameter(zeros(width))
        self.register_buffer("activation_scale_M", zeros(n_models) + 1)
        self.register_buffer("threshold_L", zeros(n_latents))

    @classmethod
    def from_weights(
        cls,
        *,
        kind: str,
        W_enc: Tensor,
        W_dec: Tensor,
        b_enc: Tensor,
        b_dec: Tensor,
        activation_scale: Tensor | None = None,
        threshold: Tensor | None = None,
    ) -> Self:
        """A crosscoder of weights in the published shapes: W_enc [M, D, L], W_dec [L, M, D],
        b_enc [L], b_dec [M, D], activation_scale [M] (default 1), threshold [L] (default 0)."""
        n_latents, n_models, d_model = W_dec.shape
        crosscoder = cls(n_models, d_model, n_latents, kind=kind, dtype=W_dec.dtype)
        with torch.no_grad():
            crosscoder.W_enc.copy_(W_enc)
            crosscoder.W_dec.copy_(W_dec)
            crosscoder.b_enc_L.copy_(b_enc)
            crosscoder.b_dec.copy_(b_dec)
            if activation_scale is not None:
                crosscoder.activation_scale_M.copy_(activation_scale)
            if threshold is not None:
                crosscoder.threshold_L.copy_(threshold)
        return crosscoder

    @classmethod
    def load(cls, folder: Path | str) -> "Crosscoder":
        """The crosscoder in a local folder, of any known layout; see `files.load`."""
        from pipeline.crosscoder.files import load

        return load(folder)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, subfolder: str | None = None
    ) -> "Crosscoder":
        """The crosscoder in a local folder or a Hub repository; see `hub.from_pretrained`."""
        from pipeline.crosscoder.hub import from_pretrained

        return from_pretrained(name, revision=revision, subfolder=subfolder)

    def save(self, folder: Path | str, *, layout: Layout = "own") -> None:
        """Write to a local folder in this project's layout (`files.save`) or a public one
        (`public_formats.save_reference`, `public_formats.save_learning`)."""
        from pipeline.crosscoder import files, public_formats

        writers = {
            "own": files.save,
            "reference": public_formats.save_reference,
            "learning": public_formats.save_learning,
        }
        writers[layout](self, Path(folder))

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = True,
        commit_message: str = "Upload crosscoder",
    ) -> str:
        """Upload to a Hub repository; see `hub.push_to_hub`."""
        from pipeline.crosscoder.hub import push_to_hub

        return push_to_hub(self, repo, private=private, commit_message=commit_message)

    @property
    def W_enc(self) -> Tensor:
        """[M, D, L], a view."""
        return self.W_enc_LP.view(self.n_latents, self.n_models, self.d_model).permute(1, 2, 0)

    @property
    def W_dec(self) -> Tensor:
        """[L, M, D], a view."""
        return self.W_dec_LP.view(self.n_latents, self.n_models, self.d_model)

    @property
    def b_enc(self) -> Tensor:
        """[L]"""
        return self.b_enc_L

    @property
    def b_dec(self) -> Tensor:
        """[M, D], a view."""
        return self.b_dec_P.view(self.n_models, self.d_model)

    @property
    def activation_scale(self) -> Tensor:
        """[M], the factor that takes a raw activation to the space the crosscoder works in."""
        return self.activation_scale_M

    @property
    def threshold(self) -> Tensor:
        """[L], in units of f; 0 is a ReLU."""
        return self.threshold_L

    def normalise(self, x_raw: Tensor) -> Tensor:
        """Raw activations [B, M, D] of any float type to the crosscoder's own space and type."""
        return x_raw.to(self.W_dec_LP.dtype) * self.activation_scale_M[:, None]

    def denormalise(self, x: Tensor) -> Tensor:
        """[B, M, D] back to the models' own units."""
        return x / self.activation_scale_M[:, None]

    def preactivations(self, x: Tensor) -> Tensor:
        """[B, L] of normalised x [B, M, D]."""
        return torch.addmm(self.b_enc_L, x.reshape(len(x), -1), self.W_enc_LP.t())

    def encode(self, x: Tensor) -> Tensor:
        """Latent activations f [B, L] of normalised x [B, M, D], thresholds applied."""
        pre_BL = self.preactivations(x)
        return pre_BL * (pre_BL > self.threshold_L.clamp_min(0))

    def latents(self, x_raw: Tensor) -> Tensor:
        """Latent activations f [B, L] of raw activations [B, M, D] of any float type."""
        return self.encode(self.normalise(x_raw))

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [B, M, D], normalised, of latent activations f [B, L]."""
        x_hat_BP = torch.addmm(self.b_dec_P, f, self.W_dec_LP)
        return x_hat_BP.view(-1, self.n_models, self.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction [B, M, D] of normalised x [B, M, D]."""
        return self.decode(self.encode(x))

    def reconstruct(self, x_raw: Tensor) -> Tensor:
        """Reconstruction of raw activations [B, M, D], in the models' own units."""
        return self.denormalise(self(self.normalise(x_raw)))

    def decoder_norms(self) -> Tensor:
        """||d_m|| [L, M] in the normalised space the crosscoder was trained in."""
        return torch.linalg.vector_norm(self.W_dec, dim=-1)

    def folded(self) -> Self:
        """The same map on raw activations: latent activations, L0 and reconstruction are equal.

        Decoder norms are not: folding rescales them by model, so compare them before folding.
        """
        scale_M = self.activation_scale_M
        folded = self.from_weights(
            kind=self.kind,
            W_enc=self.W_enc.detach() * scale_M[:, None, None],
            W_dec=self.W_dec.detach() / scale_M[:, None],
            b_enc=self.b_enc_L.detach(),
            b_dec=self.b_dec.detach() / scale_M[:, None],
            threshold=self.threshold_L,
        )
        folded.provenance = {**self.provenance, "folded": True}
        return folded.train(self.training)
