"""Typed section of where the models part; values live in `conf/`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section

PositiveInt = Annotated[int, Field(ge=1)]
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
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Coverage of each interval."""
    seed: Number
    """Seed of the sample of sequences, of the random directions and of the bootstrap."""
