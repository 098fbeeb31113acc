"""The crosscoder itself: what is needed to encode and decode, whatever variant trained it.

Letters: B rows of a batch, M models, D d_model, L latents, P = M * D (models side by
side, model 0 first).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.crosscoder import hub, layouts
from pipeline.crosscoder.layouts import Layout
from pipeline.crosscoder.selection import calibrated_threshold
from pipeline.crosscoder.weights import Weights, check_scale
from pipeline.errors import ArtifactError
from pipeline.paths import expanded


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
    has_scale, has_threshold: whether its factors and thresholds are known. Public files may lack
        them; what needs them is then an error that names the remedy, never a guess.
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
        self.has_scale, self.has_threshold = True, True

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        width = n_models * d_model
        self.W_enc_LP = nn.Parameter(zeros(n_latents, width))
        self.W_dec_LP = nn.Parameter(zeros(n_latents, width))
        self.b_enc_L = nn.Parameter(zeros(n_latents))
        self.b_dec_P = nn.Parameter(zeros(width))
        no_scaling_M = torch.ones(n_models, dtype=dtype, device=device)
        self.register_buffer("activation_scale_M", no_scaling_M)
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
        n_latents, n_models, _ = W_dec.shape
        return cls.of(
            Weights(
                kind=kind,
                W_enc=W_enc,
                W_dec=W_dec,
                b_enc=b_enc,
                b_dec=b_dec,
                activation_scale=W_dec.new_ones(n_models)
                if activation_scale is None
                else activation_scale,
                threshold=W_dec.new_zeros(n_latents) if threshold is None else threshold,
            )
        )

    @classmethod
    def of(cls, weights: Weights) -> Self:
        """The crosscoder that plain data describes, of the widest of its types, on its device."""
        device, types = weights.W_dec.device, [t.dtype for t in weights.tensors().values()]
        dtype = reduce(torch.promote_types, types)
        crosscoder = cls(*weights.shape, kind=weights.kind, dtype=dtype, device=device)
        crosscoder.has_scale = weights.activation_scale is not None
        crosscoder.has_threshold = weights.threshold is not None
        crosscoder.provenance = weights.provenance
        with torch.no_grad():
            for name, tensor in weights.tensors().items():
                getattr(crosscoder, name).copy_(tensor)
        return crosscoder

    def weights(self) -> Weights:
        """The crosscoder as plain data; the tensors share its memory."""
        return Weights(
            kind=self.kind,
            W_enc=self.W_enc.detach(),
            W_dec=self.W_dec.detach(),
            b_enc=self.b_enc_L.detach(),
            b_dec=self.b_dec.detach(),
            activation_scale=self.activation_scale_M if self.has_scale else None,
            threshold=self.threshold_L if self.has_threshold else None,
            provenance=self.provenance,
        )

    @classmethod
    def load(
        cls, path: Path | str, *, activation_scale: Sequence[float] | None = None
    ) -> "Crosscoder":
        """The crosscoder at a local path, a folder or a weights file of any known layout, to be
        used and not trained (evaluation mode, no gradients).

        activation_scale: a factor per model in place of the file's own, or where it has none
        Raises MissingArtifactError where there is none and ArtifactError where it cannot be read.
        """
        crosscoder = cls.of(layouts.read(expanded(path))).eval().requires_grad_(False)
        if activation_scale is not None:
            crosscoder.set_scale(torch.tensor(activation_scale))
        return crosscoder

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        subfolder: str | None = None,
        activation_scale: Sequence[float] | None = None,
    ) -> "Crosscoder":
        """The crosscoder in the local folder or the Hub repository `name`; see `load`."""
        if expanded(name).exists():
            path = expanded(name) / (subfolder or "")
        else:
            path = hub.fetch(str(name), revision=revision, subfolder=subfolder)
        return cls.load(path, activation_scale=activation_scale)

    def save(self, folder: Path | str, *, layout: Layout = "own") -> None:
        """Write to a local folder: this project's layout or a public one (`layouts`).

        `reference` holds neither thresholds nor factors. Its receivers multiply raw activations by
        the factors that `cfg.json` names (`activation_scale`), or are given the folded crosscoder,
        which takes raw activations as they are: `crosscoder.folded().save(folder,
        layout="reference")`. `cfg.json` says under `input` which of the two it is.
        """
        layouts.write(self.weights(), Path(folder), layout)

    def save_for_hub(
        self,
        folder: Path | str,
        *,
        repo: str = "OWNER/NAME",
        layout: Layout = "own",
        results: Path | str | None = None,
    ) -> None:
        """Write what `push_to_hub` uploads, weights and model card, to a local folder instead.

        repo: by which the card says to load it
        results: the folder of a run's results (`results`), whose figures the card then holds
        Raises MismatchError where these are the results of another crosscoder.
        """
        hub.write(self.weights(), expanded(folder), repo=repo, layout=layout, results=results)

    def push_to_hub(
        self,
        repo: str,
        *,
        layout: Layout = "own",
        results: Path | str | None = None,
        private: bool = True,
        commit_message: str = "Upload crosscoder",
    ) -> str:
        """Upload to a Hub repository in one of the layouts of `save`, with a model card; results as
        in `save_for_hub`. The commit's address. PipelineError where the Hub refuses."""
        return hub.push(
            self.weights(),
            repo,
            layout=layout,
            results=results,
            private=private,
            commit_message=commit_message,
        )

    def set_scale(self, activation_scale: Tensor) -> Self:
        """Take the factors [M] that bring raw activations to the space the weights work in.

        Raises ArtifactError where they are not one finite number above 0 per model.
        """
        if activation_scale.shape != self.activation_scale_M.shape:
            raise ArtifactError(
                f"activation_scale has {activation_scale.numel()} factors, expected "
                f"{self.n_models}, one per model: correct it"
            )
        check_scale(activation_scale)
        self.activation_scale_M.copy_(activation_scale)
        self.has_scale = True
        return self

    def measure_scale(self, x_raw: Tensor) -> Self:
        """Take the factors that give the raw rows [B, M, D] a norm of sqrt(D) on average, which is
        how the reference normalises; leave out rows of BOS, as it does in training."""
        norms_M = torch.linalg.vector_norm(x_raw.double(), dim=-1).mean(0)
        return self.set_scale(self.d_model**0.5 / norms_M)

    @torch.no_grad()
    def calibrate(self, x_raw: Tensor | Iterable[Tensor], k: int | None = None) -> Self:
        """Take the threshold on f * sum_m ||d_m|| that leaves `k` latents active per raw row
        [B, M, D] on average, over one batch or several; k None is that of the provenance."""
        k = k or (self.provenance.get("crosscoder") or {}).get("k")
        if not k:
            raise ArtifactError(
                "the file does not tell how many latents are active per row: give calibrate(k=...)"
                ", or write k into the JSON beside the weights"
            )
        if k >= self.n_latents:
            raise ArtifactError(
                f"k is {k}, but the crosscoder has {self.n_latents} latents: give the number that "
                "it was trained with"
            )
        batches = [x_raw] if isinstance(x_raw, Tensor) else list(x_raw)
        norm_L = self.decoder_norms().sum(-1)
        theta = calibrated_threshold(
            (self.preactivations(self.normalise(rows)) for rows in batches),
            norm_L,
            k,
            max_rows=sum(map(len, batches)),
        )
        # A latent without any decoder writes nothing: it may pass.
        self.threshold_L.copy_(torch.where(norm_L > 0, theta / norm_L, 0))
        self.has_threshold = True
        return self

    def decoder_difference(self) -> Tensor:
        """[L, D] d_it - d_base of a pair of models, in raw units."""
        raw_LMD = self.W_dec.detach() / self.activation_scale[:, None]
        return raw_LMD[:, 1] - raw_LMD[:, 0]

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
        """Raw activations [B, M, D] of any float type, on any device, to the crosscoder's own
        space, type and device."""
        self._check_scale()
        return x_raw.to(self.W_dec_LP) * self.activation_scale_M[:, None]

    def denormalise(self, x: Tensor) -> Tensor:
        """[B, M, D] back to the models' own units."""
        self._check_scale()
        return x / self.activation_scale_M[:, None]

    def preactivations(self, x: Tensor) -> Tensor:
        """[B, L] of normalised x [B, M, D]."""
        return torch.addmm(self.b_enc_L, x.reshape(len(x), -1), self.W_enc_LP.t())

    def encode(self, x: Tensor) -> Tensor:
        """Latent activations f [B, L] of normalised x [B, M, D], thresholds applied."""
        if not self.has_threshold:
            raise ArtifactError(
                f"this {self.kind} crosscoder has no inference threshold (its file has none, or "
                "the -1 that its trainer starts from): calibrate(x_raw, k=...) measures it"
            )
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
        self._check_scale()
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

    def _check_scale(self) -> None:
        if not self.has_scale:
            raise ArtifactError(
                "the factors that bring raw activations to this crosscoder's space are not known "
                "(its file holds none): give load(activation_scale=[...]), or measure_scale(x_raw) "
                "measures them; encode and decode take normalised activations as they are"
            )
