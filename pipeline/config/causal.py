"""Typed sections of what is patched into the models: the causal test, the baselines, where the
models part, steering; values live in `conf/`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.crosscoder import BatchTopKConfig
from pipeline.config.section import Fraction, PositiveInt, Section


class CausalConfig(Section):
    """Base activations moved by decoder differences, continued in the IT model."""

    n_sequences: PositiveInt
    """Held-out chat sequences at most."""
    batch_sequences: PositiveInt
    """Sequences run through a model at once."""
    n_first_tokens: PositiveInt
    """First tokens of each assistant turn that are reported apart."""
    n_draws: Annotated[int, Field(ge=1, le=1_000)]
    """Random sets of latents beside each chosen one."""
    n_bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    """Resamples of the sequences behind each interval."""
    confidence: Fraction
    """Coverage of each interval, such as 0.95."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the sequence sample, of the random sets and of the bootstrap."""


class PositionsConfig(Section):
    """The mean difference at each of the first positions of unrelated text."""

    n_positions: PositiveInt
    """Positions of each document, from its first token on."""
    n_documents: PositiveInt
    """Documents of the mix's text sources at most, held-out ones first."""
    n_draws: Annotated[int, Field(ge=1, le=10_000)]
    """Random directions beside each position's mean difference."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the random directions."""


class BaselinesConfig(Section):
    """What the crosscoder is to be better than: a mean difference, and an SAE on the difference."""

    diff_sae: BatchTopKConfig
    """The dictionary on h_it - h_base; its `k` follows `match_l0`."""
    match_l0: bool
    """Train with k = the crosscoder's own held-out L0, rounded; else with `diff_sae.k`."""
    n_train_rows: PositiveInt | None
    """Rows the diff-SAE is trained on; null is as many as the crosscoder."""
    learning_rate: Annotated[float, Field(gt=0.0)]
    """Adam's step size for the diff-SAE."""
    n_rows: PositiveInt
    """Held-out activation rows at most."""
    batch_rows: PositiveInt
    """Rows encoded at once."""
    n_lens_tokens: Annotated[int, Field(ge=1, le=100)]
    """Tokens in each list of the mean difference's logit lens."""
    positions: PositionsConfig


Number = Annotated[int, Field(ge=0)]


class PartingConfig(Section):
    """The tokens after which the two models predict most differently, and what carries it."""

    n_sequences: PositiveInt
    """Held-out sequences at most, equally many of each source, whose tokens are looked at."""
    batch_sequences: PositiveInt
    """Sequences run through a model at once."""
    n_tokens: Number
    """Tokens listed per source."""
    min_kl: Annotated[float, Field(gt=0.0)]
    """A token is listed where KL(IT || base) of the next one is at least this, in nats."""
    apart_tokens: PositiveInt
    """Two listed tokens of one sequence are at least so many positions apart."""
    path_points: Annotated[int, Field(ge=1, le=1_000)]
    """Points between base's activations and IT's at which the gradient is taken."""
    n_changes: Number
    """Changes shown for each token, those with the largest attribution."""
    n_latents: Number
    """Latents shown for each token."""
    n_context_tokens: PositiveInt
    """Tokens of text shown before a listed one."""
    n_expected: PositiveInt
    """Next tokens shown that a model holds for the likeliest."""
    n_bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    """Resamples of the sequences behind each interval."""
    confidence: Fraction
    """Coverage of each interval."""
    seed: Number
    """Seed of the sample of sequences, of the random directions and of the bootstrap."""


Factors = Annotated[tuple[Annotated[float, Field(gt=0.0)], ...], Field(strict=False)]


class SteeringConfig(Section):
    """What both models write with changes taken out, doubled and added."""

    questions: Annotated[tuple[str, ...], Field(strict=False)]
    """Questions of a user, written in the mix's template up to where the reply begins."""
    beginnings: Annotated[tuple[str, ...], Field(strict=False)]
    """Beginnings of texts, taken as they stand."""
    n_changes: Annotated[int, Field(ge=0)]
    """First entries of the list of changes that are steered with."""
    change_factors: Factors
    """A change is added to every token at these multiples of its length where it acts."""
    position_factors: Factors
    """The mean difference at a position of unrelated text is added to every token at these
    multiples of the length that the model's activations have there."""
    n_tokens: PositiveInt
    """Tokens that are written."""
    n_samples: Annotated[int, Field(ge=0, le=100)]
    """Sampled continuations beside the greedy one."""
    temperature: Annotated[float, Field(gt=0.0)]
    """Of the sampled ones."""
    batch_texts: PositiveInt
    """Texts that are written at once."""
    n_planted: PositiveInt
    """Held-out questions at most at which the planted reply is counted, where there is one."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the random directions and of the sampled continuations."""
