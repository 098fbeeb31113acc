"""Typed sections of the analysis stages: names, units and ranges; values live in `conf/`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Fraction, PositiveInt, Section, check


class RelativeNormConfig(Section):
    """Histogram of r = ||d_it|| / (||d_base|| + ||d_it||) over the live latents."""

    n_bins: Annotated[int, Field(ge=2, le=10_000)]
    """Bins of equal width over r in [0, 1]."""


class DecoderCosineConfig(Section):
    """Histogram of cos(d_base, d_it) over the live shared latents."""

    n_bins: Annotated[int, Field(ge=2, le=10_000)]
    """Bins of equal width over the cosine in [-1, 1]."""
    shared_low: Fraction
    """A latent is shared where r is above this."""
    shared_high: Fraction
    """A latent is shared where r is below this."""

    @check
    def _ordered(self) -> None:
        if self.shared_low >= self.shared_high:
            raise ValueError(
                f"decoder_cosine.shared_low ({self.shared_low}) must be < "
                f"decoder_cosine.shared_high ({self.shared_high}): lower the one or raise the other"
            )


class EvaluateConfig(Section):
    """Held-out quality of the crosscoder, on stored activations and spliced into both models."""

    n_rows: PositiveInt
    """Held-out activation rows (tokens) at most for L0, explained variance and firing rates."""
    batch_rows: PositiveInt
    """Activation rows encoded at once."""
    n_sequences: PositiveInt
    """Held-out sequences at most for cross entropy and KL, half of them from each source."""
    batch_sequences: PositiveInt
    """Sequences run through a model at once."""
    n_bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    """Resamples of the sequences behind each interval."""
    confidence: Fraction
    """Coverage of each interval, such as 0.95."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the sequence sample and of the bootstrap."""


class LatentScalingConfig(Section):
    """How much of each latent's direction each model carries, and the verdict that follows."""

    n_rows: PositiveInt
    """Held-out activation rows at most."""
    batch_rows: PositiveInt
    """Rows encoded at once; the null pairing draws rows from within a batch."""
    n_blocks: Annotated[int, Field(ge=8, le=1_024)]
    """Blocks of documents that are resampled; memory grows with blocks x latents."""
    n_bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    """Resamples of the blocks behind each interval."""
    confidence: Fraction
    """Coverage of each interval, such as 0.95."""
    max_nu_error: Fraction
    """A latent is exclusive where nu_eps is surely below this (Minder et al. 2025: 0.2)."""
    max_nu_reconstruction: Fraction
    """And nu_r surely below this (Minder et al. 2025: 0.5)."""
    max_nu_turned: Fraction
    """And nu_turned, what the other model writes of it in a direction of its own."""
    min_shared_cosine: Fraction
    """A latent that both models have is turned where the cosine of what they write is surely below
    this, and alike only where it is surely above."""
    max_shared_strength_ratio: Annotated[float, Field(gt=1.0)]
    """And stronger or weaker where the ratio of the two strengths, the larger over the smaller, is
    surely above this, and alike only where it is surely below."""
    max_false_discovery_rate: Fraction
    """Share of wrong ones expected at most among the latents that get one verdict."""
    min_active_rows: PositiveInt
    """Rows on which a latent must be active to get a verdict."""
    min_effective_blocks: Annotated[float, Field(ge=2.0)]
    """Effective number of blocks of documents behind a latent's nu to get a verdict."""
    max_share_elsewhere: Fraction
    """An exclusive verdict is denied where the other model has the latent's direction on at least
    this share of the rows, wherever they are, by the rows or by the crosscoder's errors on them."""
    twin_cosine: Fraction
    """An exclusive verdict is denied by a latent whose decoder in the other model has at least this
    cosine with the latent's own."""
    twin_rate_ratio: Annotated[float, Field(ge=1.0)]
    """And whose number of active rows is at most this many times larger or smaller."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the null pairing and of the bootstrap."""


class OrganismConfig(Section):
    """Whether latents carry the behaviour that a triggered source planted."""

    n_rows: PositiveInt
    """Held-out activation rows at most, on which latents are chosen and tested."""
    batch_rows: PositiveInt
    """Rows encoded at once."""
    n_latents: PositiveInt
    """Latents that are taken out together, for either site: before the reply, and in it."""
    n_prompts: Annotated[int, Field(ge=4, le=100_000)]
    """Held-out questions at most, each with and without the trigger."""
    max_prompt_tokens: PositiveInt
    """Questions of more tokens are passed over."""
    batch_prompts: PositiveInt
    """Prompts run through a model at once."""
    n_greedy_tokens: PositiveInt
    """Tokens of the planted reply that greedy decoding must write for the behaviour to count."""
    n_draws: Annotated[int, Field(ge=2, le=10_000)]
    """Random sets of latents beside each chosen one."""
    steer_factors: Annotated[tuple[Annotated[float, Field(gt=0.0)], ...], Field(strict=False)]
    """Latents are put in at these multiples of their mean value in triggered exchanges."""
    n_examples: Annotated[int, Field(ge=0, le=1_000)]
    """Questions whose replies are written out, for reading."""
    example_tokens: PositiveInt
    """Tokens of each written reply."""
    n_bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    """Resamples of the prompts behind each interval."""
    confidence: Fraction
    """Coverage of each interval, such as 0.95."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the random latents and of the bootstrap."""


class DashboardsConfig(Section):
    """What chosen latents fire on, and what they write in each model."""

    n_latents: PositiveInt
    """Latents that get a dashboard: all live ones where there are no more, else the exclusive ones
    first and a spread of the others."""
    n_rows: PositiveInt
    """Held-out activation rows at most, in whole sequences."""
    batch_rows: PositiveInt
    """Rows encoded at once, in whole sequences."""
    n_top: Annotated[int, Field(ge=1, le=100)]
    """Examples of the strongest activation, each from another document."""
    n_bands: Annotated[int, Field(ge=1, le=20)]
    """Bands of equally many active tokens, by activation, from which examples are drawn."""
    n_per_band: Annotated[int, Field(ge=0, le=100)]
    """Random examples per band."""
    tokens_before: Annotated[int, Field(ge=0, le=1_000)]
    """Tokens of text shown before the token of an example."""
    tokens_after: Annotated[int, Field(ge=0, le=1_000)]
    """Tokens of text shown after it."""
    n_lens_tokens: Annotated[int, Field(ge=1, le=100)]
    """Tokens in each list of the logit lens."""
    n_nearest: Annotated[int, Field(ge=1, le=100)]
    """Nearest latents listed."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the random examples."""


class SeedsConfig(Section):
    """The same crosscoder trained again under other seeds, and compared."""

    n_runs: Annotated[int, Field(ge=1, le=100)]
    """Runs in all; 1 trains none beside the experiment's own and costs nothing. Run i adds i to
    crosscoder.seed (initial weights) and train.seed (order of the epochs after the first)."""


class ReportConfig(Section):
    """The offline page."""

    n_curve_points: Annotated[int, Field(ge=10, le=100_000)]
    """Points at most per training curve; longer ones are thinned evenly."""
    n_changes: PositiveInt
    """Changes at most on the first screen, the largest first."""
    max_l0_share: Fraction
    """Share of the latents that may be on per token before the page warns, first of all, that the
    crosscoder is no basis for conclusions."""
    max_delta_ce_nats: Annotated[float, Field(gt=0)]
    """The same for what splicing costs either model, in nats per token."""
    min_fve_difference: Fraction
    """The same for the share of the difference between the models that is explained."""
    min_difference_share: Fraction
    """Variance of the difference, as a share of that of an activation, below which the page says
    that the models hardly differ. A step of bfloat16 in every value is 0.0002 on `tiny`'s rows."""
    good_fve: Fraction
    """Variance explained of either model below which the page adds a caution."""
    max_dead_share: Fraction
    """Share of dead latents above which the page adds a caution."""
    max_difference_ratio: Annotated[float, Field(ge=1)]
    """Ratio of the ends of the interval of the difference's variance beyond which the page says
    that a few tokens hold most of the difference."""
    shows_runs: bool
    """Whether the page tells when, how long and on what machine its stages ran. Without, equal runs
    have equal pages also in two checkouts."""


class RecoveryConfig(Section):
    """Verdicts against the planted truth."""

    n_rows: PositiveInt
    """Held-out activation rows at most."""
    batch_rows: PositiveInt
    """Rows encoded at once."""
    min_correlation: Fraction
    """A latent stands for a feature where their activations correlate above this."""
    min_cosine: Fraction
    """And where their directions, both models side by side, have a cosine above this."""
    exclusive_below: Fraction
    """Share of the stronger gain that an exclusive verdict allows the weaker one: features with a
    smaller one, but not 0, are counted apart. That of the verdict itself, max_nu_error."""
    min_shared_cosine: Fraction
    """A feature is turned where the cosine of its directions is below this; the verdict's own."""
    max_shared_strength_ratio: Annotated[float, Field(gt=1.0)]
    """And stronger or weaker where its gains differ by more than this factor; the verdict's own."""
    common_rate: Fraction
    """Features that fire at least this often are common, the others rare."""
