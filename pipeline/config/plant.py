"""The section `plant`: features of known kind, planted in the rows, to score verdicts against.

A feature is one activation g and a direction per model; it adds g * gain_m * direction_m to the row
of model m. What it is, shared or one model's own, follows from its gains.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.config.section import PositiveInt, Section, check

Rate = Annotated[float, Field(gt=0.0, le=1.0)]
Gain = Annotated[float, Field(ge=0.0, le=10.0)]
Contexts = Annotated[str, Field(min_length=1)]


class PlantGroup(Section):
    """Features that are alike but for their rate."""

    n: Annotated[int, Field(ge=0)]
    """Features in the group."""
    rate_low: Rate
    """Firing rate of the rarest, as a share of the rows of the contexts it fires in."""
    rate_high: Rate
    """Firing rate of the commonest; the others are spaced evenly between, on a log scale."""
    base_gain: Gain
    """Size in the base model's rows; 0: the IT model's own."""
    it_gain: Gain
    """Size in the IT model's rows; 0: the base model's own."""
    cosine: Annotated[float, Field(ge=-1.0, le=1.0)]
    """Cosine between the directions in the two models."""
    base_contexts: Contexts
    """Source of the rows on which it fires in the base model, by its name in mix.shares; or all."""
    it_contexts: Contexts
    """Source of the rows on which it fires in the IT model; or all."""
    cluster_size: PositiveInt
    """Features that fire together; 1: each on its own."""
    cofiring: Rate
    """Chance that a feature of a cluster fires where the cluster does."""
    document_share: Rate
    """Share of the documents in which a feature, or its cluster, can fire at all."""
    strength: Annotated[float, Field(gt=0.0)]
    """Mean norm of what it adds where it fires, at gain 1, over the typical norm of the background
    about its mean."""
    strength_spread: Annotated[float, Field(ge=0.0, le=2.0)]
    """Standard deviation of the strength's logarithm from one firing to the next."""

    @check
    def _rates_fit(self) -> None:
        if self.rate_low > self.rate_high:
            raise ValueError(
                f"rate_low ({self.rate_low}) must be <= rate_high ({self.rate_high}): swap them"
            )
        most = self.cofiring * self.document_share
        if self.rate_high > most:
            raise ValueError(
                f"rate_high ({self.rate_high}) must be <= cofiring * document_share ({most:g}): "
                "a feature cannot fire more often than its cluster in its documents; lower it"
            )
        if self.base_gain == self.it_gain == 0:
            raise ValueError("base_gain and it_gain are both 0: give the feature to a model")


class SyntheticBackground(Section):
    """A dense background like a residual stream's: correlated, with a mean, outlier dimensions and
    noise, in its own units (coordinates of variance about 1)."""

    kind: Literal["synthetic"]
    d_model: Annotated[int, Field(ge=2)]
    """Width of each model's rows."""
    n_rows: PositiveInt
    """Training rows; rounded up to whole documents."""
    n_heldout_rows: PositiveInt
    """Held-out rows; rounded up to whole documents."""
    document_rows: Annotated[int, Field(ge=2)]
    """Rows of a document; documents are of the sources in turn."""
    sources: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """Names of the sources, those of mix.shares: of documents in turn. Documents of all but the
    first begin with rows that stand for template tokens."""
    rank: Annotated[int, Field(ge=1)]
    """Dense dimensions that the coordinates are correlated through."""
    spectrum_exponent: Annotated[float, Field(ge=0.0)]
    """Variance of the i-th dense dimension falls as i to minus this."""
    noise_share: Annotated[float, Field(ge=0.0, le=1.0)]
    """Share of the variance that is noise, independent in each coordinate and model."""
    model_cosine: Annotated[float, Field(ge=0.0, le=1.0)]
    """Correlation between the two models' dense parts."""
    mean_norm: Annotated[float, Field(ge=0.0)]
    """Norm of the mean row over the typical norm about it."""
    n_outliers: Annotated[int, Field(ge=0)]
    """Coordinates with a large mean and spread."""
    outlier_ratio: Annotated[float, Field(ge=1.0)]
    """How many times larger theirs are."""


class PairBackground(Section):
    """The rows of the experiment's model pair at its hook point."""

    kind: Literal["pair"]


Background = Annotated[SyntheticBackground | PairBackground, Field(discriminator="kind")]


class PlantConfig(Section):
    """What is planted, and in what."""

    background: Background
    """Rows that the features are added to."""
    feature: dict[str, Any]
    """Values that a group takes where it gives none of its own."""
    groups: dict[str, PlantGroup] = Field(min_length=1)
    """Groups of features by kind. The name is free; what a kind is follows from its values."""
    seed: Annotated[int, Field(ge=0)]
    """Decides the directions, where each feature fires, and a synthetic background."""

    @model_validator(mode="before")
    @classmethod
    def _fill_groups(cls, plain: Any) -> Any:
        if not isinstance(plain, Mapping) or not isinstance(plain.get("groups"), Mapping):
            return plain
        common = plain.get("feature") or {}
        if not isinstance(common, Mapping):
            raise ValueError(
                f"plant.feature is {common!r:.60}, but it should be keys with values, such as "
                "{strength: 1.0}: change it in conf/ or in the overrides"
            )
        unknown = sorted(set(common) - set(PlantGroup.model_fields))
        if unknown:
            raise ValueError(
                f"feature.{unknown[0]} is unknown: a group has {', '.join(PlantGroup.model_fields)}"
            )
        groups = {
            name: {**common, **group} if isinstance(group, Mapping) else group
            for name, group in plain["groups"].items()
            if group is not None
        }
        return {**plain, "groups": groups}

    @check
    def _plants_something(self) -> None:
        if not self.n_features:
            raise ValueError("every group has n = 0: plant at least one feature, or use plant=none")

    @property
    def n_features(self) -> int:
        return sum(group.n for group in self.groups.values())
