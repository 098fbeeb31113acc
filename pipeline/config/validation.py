"""The section `validation`: which planted and null experiments the validation is made of."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section

Overrides = list[str]
"""Hydra overrides on top of those of the part they belong to."""


class ValidationConfig(Section):
    """Planted truth under several seeds for every variant, null pairs, and agreement of seeds."""

    overrides: Overrides
    """Of every experiment of the validation; the first names the planted experiment."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    """Each decides a plant, a shuffle and a crosscoder of its own; intervals are over them."""
    variants: Annotated[dict[str, Overrides], Field(min_length=1)]
    """Name in the results -> the crosscoder, at about the same L0 in all."""
    extra: dict[str, Overrides]
    """Further runs on the plant of the first seed: other dictionaries, say."""
    null_overrides: Overrides
    """Of the null pairs, planted."""
    null_pairings: list[str]
    """Values of dump.pairing."""
    null_variants: list[str]
    """Variants that the null pairs are judged under."""
    activations: Overrides
    """The experiment whose models' rows are planted in, and then paired as null pairs; empty: this
    part is left out."""
    activations_variants: list[str]
    """Variants that it is judged under."""
    n_agreement_runs: Annotated[int, Field(ge=1)]
    """Seeds of one crosscoder on one plant, whose latents and verdicts are compared; 1: none."""
    n_workers: Annotated[int, Field(ge=1, le=64)]
    """Experiments run side by side, each on runtime.n_threads threads."""
