"""The sections of commands outside the graph: `validation`, of which planted and null experiments
it is made; `edit_study`, pairs with known edits that the list of changes is held to account by;
`frontier`, which crosscoders are trained on one store, from sparse to dense."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Fraction, Section

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


NonEmpty = Annotated[str, Field(min_length=1)]


class SweepConfig(Section):
    """Points of one variant: the same configuration but for the sparsity."""

    crosscoder: NonEmpty
    """File of `conf/crosscoder/` without its ending."""
    keys: Annotated[tuple[NonEmpty, ...], Field(strict=False, min_length=1)]
    """Keys that the sweep sets, all of them to the value of the point."""
    values: Annotated[tuple[int | float, ...], Field(strict=False, min_length=1)]
    """Values, one point each."""
    overrides: Annotated[tuple[NonEmpty, ...], Field(strict=False)]
    """Hydra overrides that every point of the sweep has beside."""


class FrontierConfig(Section):
    """Sparsity against fidelity, for every variant on the same store."""

    sweeps: dict[str, SweepConfig] = Field(min_length=1)
    """Name of the variant in the figure -> its points."""
    overrides: Annotated[tuple[NonEmpty, ...], Field(strict=False)]
    """Hydra overrides of every point, such as a shorter training."""
