"""The base of every configuration section."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class Section(BaseModel):
    """A part of the configuration: no unknown keys, no coercion, no change after parsing.

    Values live in `conf/` alone, so a field has no default here. A field's meaning is the text
    under it, which `keys.meaning` reads when somebody asks.
    """

    # Every stage pays for what stands here. `defer_build`: one validator is built, of the whole
    # configuration, instead of one for each of fifty sections that nobody parses alone.
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)
