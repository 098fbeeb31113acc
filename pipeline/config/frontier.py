"""Section `frontier`: which crosscoders are trained on one store, from sparse to dense."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section

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
