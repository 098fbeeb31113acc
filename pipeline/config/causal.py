"""Typed sections of the causal test and of the baselines; values live in `conf/`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.crosscoder import BatchTopKConfig
from pipeline.config.section import Section

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


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
