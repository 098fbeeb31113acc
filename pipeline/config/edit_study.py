"""The section `edit_study`: pairs with known edits, and null pairs, that the list of changes is
held to account by."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section
from pipeline.config.validation import Overrides

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class EditStudyConfig(Section):
    """One base model, a pair with edits of its own for every seed, and null pairs."""

    base_model: str | None
    """Folder of the base model; null: the experiment of `base` makes it, once for all pairs."""
    base: Overrides
    """Of the experiment whose base model is taken where base_model is null."""
    overrides: Overrides
    """Of the experiment of every pair; its models.base is the folder of that model."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    """Each decides which edits are made, a shuffle and a crosscoder; intervals are over them."""
    n_null_seeds: Annotated[int, Field(ge=1)]
    """Null pairs of each kind."""
    n_null_sequences: Annotated[int, Field(ge=2)]
    """Sequences of a null pair: changes are looked for on the rows of one half, tested on the
    other's."""
    max_null_rate: Fraction
    """Share of the null pairs that may have a list that is not empty."""
    confidence: Fraction
    """Coverage of each interval."""
    n_bootstrap: Annotated[int, Field(ge=100)]
    """Resamples of the seeds behind each interval."""
    n_workers: Annotated[int, Field(ge=1, le=64)]
    """Pairs run side by side, each on runtime.n_threads threads."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the resamples and of the null pairs."""
