"""Typed section of steered generation; values live in `conf/`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section

PositiveInt = Annotated[int, Field(ge=1)]
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
