"""Schemas of the sections `crosscoder` (one class per variant, chosen by `kind`) and `train`.

Hold names, types, units and ranges only: every value lives in `conf/`. Imports no torch.
"""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Section, check
from pipeline.labels import MODELS

Count = Annotated[int, Field(gt=0)]
"""A whole number of things, at least one."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
"""A share of the steps of a run, from 0 to 1."""

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
"""A finite number above 0."""

NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
"""A finite number, 0 or above."""


class _TrainedCrosscoder(Section):
    n_latents: Count
    """Width of the dictionary, in latents."""
    decoder_init_norm: Positive
    """Norm of every (latent, model) decoder vector at the start, in normalised activation units."""
    decoder_init_shared: bool
    """Whether the decoders of all models start from the same vectors."""
    decoder_bias_init: Literal["zero", "geometric_median"]
    """Start of the decoder bias: 0, or the geometric median of the normalised rows."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the initial weights."""


class L1Config(_TrainedCrosscoder):
    """ReLU latents, penalty f * sum_m ||d_m|| (the reference recipe)."""

    kind: Literal["l1"]
    """Name of the variant."""
    sparsity_coefficient: NonNegative
    """Weight of the sparsity term once warmed up."""
    sparsity_warmup_fraction: Fraction
    """Share of the steps over which the weight rises linearly from 0."""


class DsfConfig(_TrainedCrosscoder):
    """L1 with designated shared features: the first latents have one decoder for all models."""

    kind: Literal["dsf"]
    """Name of the variant."""
    n_shared_latents: Count
    """Number of latents whose decoder is tied across the models."""
    shared_penalty_ratio: NonNegative
    """Sparsity weight of a shared latent over that of an exclusive one (published: 0.1 to 0.2)."""
    sparsity_coefficient: NonNegative
    """Weight of the sparsity term of the exclusive latents once warmed up."""
    sparsity_warmup_fraction: Fraction
    """Share of the steps over which the weight rises linearly from 0."""

    @check
    def _shared_latents_fit(self) -> None:
        if self.n_shared_latents >= self.n_latents:
            raise ValueError(
                f"crosscoder.n_shared_latents ({self.n_shared_latents}) must be < "
                f"crosscoder.n_latents ({self.n_latents}): lower it, or choose crosscoder=l1"
            )


class JumpReluConfig(_TrainedCrosscoder):
    """One learned threshold per latent, penalty on the number of active latents."""

    kind: Literal["jumprelu"]
    """Name of the variant."""
    threshold_init: Positive
    """Start of each latent's threshold on f * sum_m ||d_m||, in normalised activation units."""
    threshold_learning_rate_ratio: Positive
    """Learning rate of log(threshold) over that of the weights."""
    bandwidth: Positive
    """Width of the kernel that gives the thresholds a gradient, in units of f * sum_m ||d_m||."""
    sparsity_coefficient: NonNegative
    """Weight of the number of active latents per row once warmed up."""
    sparsity_warmup_fraction: Fraction
    """Share of the steps over which the weight rises linearly from 0."""


class BatchTopKConfig(_TrainedCrosscoder):
    """The batch_rows * k largest f * sum_m ||d_m|| of a batch are kept; a threshold replaces the
    choice at inference."""

    kind: Literal["batch_topk"]
    """Name of the variant."""
    k: Count
    """Active latents per row, mean over a batch, at the end of training."""
    k_start: Count
    """Active latents per row at step 0; falls linearly to k."""
    k_anneal_fraction: Fraction
    """Share of the steps over which k_start falls to k; 0 trains at k throughout."""
    threshold: Literal["calibrated", "running_mean"]
    """Inference threshold: fitted after training so that held-out rows have k active latents on
    average, or the running mean of the smallest kept value of each batch."""
    threshold_momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Momentum of the running mean, per step."""
    calibration_rows: Count
    """Held-out rows that the calibrated threshold is fitted on."""
    reconstruction: Literal["squared", "norm"]
    """Reconstruction term: squared error summed over models and width, or the norm of the error,
    mean over the models, as published for crosscoders."""
    auxk_coefficient: NonNegative
    """Weight of the auxiliary loss that revives dead latents, over that of the reconstruction: both
    count as shares of what there is to explain, so it means the same at any width."""
    k_aux: Count | None
    """Dead latents used per row in the auxiliary loss; null is half of d_model."""

    @check
    def _k_fits(self) -> None:
        if self.k > self.k_start:
            raise ValueError(
                f"crosscoder.k_start ({self.k_start}) must be >= crosscoder.k ({self.k}): "
                "k only falls during training, raise crosscoder.k_start"
            )
        if self.k_start > self.n_latents:
            raise ValueError(
                f"crosscoder.k_start ({self.k_start}) must be <= crosscoder.n_latents "
                f"({self.n_latents}): lower crosscoder.k_start or raise crosscoder.n_latents"
            )


class PretrainedConfig(Section):
    """A finished crosscoder in place of a trained one: this project's layout or a public one."""

    kind: Literal["pretrained"]
    """Name of the variant."""
    n_latents: Count | None
    """Latents that the weights must have; null takes any number."""
    path: str | None
    """Folder of the weights, or null when `repo` is given."""
    repo: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None
    """Hub repository of the weights, or null when `path` is given."""
    revision: str | None
    """Commit, tag or branch of `repo`; null is its default branch."""
    subfolder: str | None
    """Folder of the weights inside `repo` (the reference uses blocks.14.hook_resid_pre)."""
    activation_scale: list[Positive] | None
    """Normalisation factor per model where the weights carry none (the reference layout);
    null measures it on this experiment's activations."""

    @check
    def _one_origin(self) -> None:
        if (self.path is None) == (self.repo is None):
            raise ValueError(
                f"crosscoder.path ({self.path}) and crosscoder.repo ({self.repo}): "
                "give exactly one of the two and set the other to null"
            )

    @check
    def _a_factor_per_model(self) -> None:
        factors = self.activation_scale
        if factors is not None and len(factors) != len(MODELS):
            raise ValueError(
                f"crosscoder.activation_scale ({factors}) has {len(factors)} factors, expected "
                f"{len(MODELS)}, of {' and '.join(MODELS)}: give both, or null to measure them"
            )


TrainableConfig = L1Config | DsfConfig | JumpReluConfig | BatchTopKConfig
"""A crosscoder that is trained here."""

CrosscoderConfig = Annotated[TrainableConfig | PretrainedConfig, Field(discriminator="kind")]
"""The section `crosscoder`."""


class TrainConfig(Section):
    """The section `train`: the loop, the optimiser and what it logs."""

    batch_rows: Count
    """Activation rows per step."""
    n_rows: Count | None
    """Rows to train on in all; more than the store holds means further epochs, null one epoch."""
    learning_rate: Positive
    """Adam's step size at its plateau."""
    lr_warmup_steps: Annotated[int, Field(ge=0)]
    """Steps over which the learning rate rises linearly from 0."""
    lr_decay_fraction: Fraction
    """Share of the steps, at the end, over which the learning rate falls linearly to 0."""
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Adam's decay of the gradient's running mean."""
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Adam's decay of the squared gradient's running mean."""
    epsilon: Positive
    """Adam's floor under the root of the second moment."""
    gradient_clip: Positive | None
    """Largest norm of the whole gradient; null does not clip."""
    precision: Literal["fp32", "tf32", "bf16"]
    """How matrix products are taken; weights, optimiser state and reductions are fp32 in all.
    tf32, on a CUDA device only, keeps fp32's range and rounds inputs to 10 bits of mantissa; bf16
    rounds inputs and results to 7."""
    normalisation_rows: Count | None
    """Rows, from the start of the shuffled stream, that the normalisation is measured on;
    null measures it on every row trained on."""
    dead_after_rows: Count
    """A latent that fired on none of the last this many rows is dead."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the order of rows in epochs after the first, which follows the shuffled store."""
    log_every_steps: Count
    """Steps between two points of the training curve."""
    checkpoint_every_steps: Count
    """Steps between two checkpoints in the work directory."""
