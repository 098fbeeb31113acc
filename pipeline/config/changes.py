"""Typed section of the list of changes; values live in `conf/`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Fraction, PositiveInt, Section


class ChangesConfig(Section):
    """Which changes are looked for in the difference of the models, and which are listed."""

    n_find_rows: PositiveInt
    """Training rows at most on which changes are found; all are held in memory."""
    n_rows: PositiveInt
    """Held-out rows at most on which they are measured and tested."""
    batch_rows: PositiveInt
    """Rows read at once."""
    max_changes: PositiveInt
    """Lines at most that are looked for."""
    contrast: Annotated[float, Field(ge=2.0, le=64.0)]
    """Power of the cosine that is maximised: 2 is a principal component, larger ones single out
    lines that rows lie close to."""
    n_starts: PositiveInt
    """Rows from which each search climbs."""
    n_iterations: PositiveInt
    """Steps of each climb."""
    close_cosine: Fraction
    """Rows count for a line that is looked for where their cosine with it is above this."""
    min_cosine: Fraction
    """A found line acts on a row where its cosine with what is left of the difference is above
    this."""
    max_lines: PositiveInt
    """Lines at most that act on one row."""
    min_gain: Fraction
    """The search ends when no line explains this share of the difference on training rows."""
    same_cosine: Fraction
    """Lines are one change where their cosine, either way round, is above this."""
    min_share: Fraction
    """A change is listed where its share of the difference is surely above this."""
    max_false_discovery_rate: Fraction
    """Of the list, and then of the kinds of its entries."""
    min_effective_blocks: Annotated[float, Field(ge=2.0)]
    """Effective number of blocks of documents behind a share to test it."""
    max_strength: Fraction
    """New or lost: the other model writes less than this share of the change's concept."""
    min_common: Fraction
    """A change's rows have a concept in common where one direction explains this share of their
    squares, in either model."""
    min_share_elsewhere: Fraction
    """Moved: the difference takes the direction away on rows that carry at least this share of the
    change."""
    n_blocks: Annotated[int, Field(ge=8, le=1_024)]
    """Blocks of documents behind intervals and tests."""
    confidence: Fraction
    """Coverage of each interval."""
    min_correlation: Fraction
    """A crosscoder latent stands under a change where it fires with it at this correlation."""
    n_latents: PositiveInt
    """Latents listed for a change at most."""
    n_causal: Annotated[int, Field(ge=0)]
    """First entries of the list whose causal weight is measured."""
    n_examples: PositiveInt
    """Examples in context per change, each of another document."""
    n_context_tokens: PositiveInt
    """Tokens of text before the token of an example."""
    n_lens_tokens: PositiveInt
    """Tokens in each list of what a direction promotes and suppresses."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the search and of the random latents beside the causal weights."""
