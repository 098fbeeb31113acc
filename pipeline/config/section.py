"""The base of every configuration section."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

S = TypeVar("S", bound="Section")
PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class Section(BaseModel):
    """A part of the configuration: no unknown keys, no coercion, no number that is not finite, no
    change after parsing.

    Values live in `conf/` alone, so a field has no default here. A field's meaning is the text
    under it, which `keys.meaning` reads when somebody asks.
    """

    # Every stage pays for what stands here. `defer_build`: one validator is built, of the whole
    # configuration, instead of one for each of fifty sections that nobody parses alone.
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True
    )


def check(refuse: Callable[[S], None]) -> Any:
    """A method of a section that raises ValueError where its values do not fit one another: it runs
    once they are parsed."""

    def checked(section: S) -> S:
        refuse(section)
        return section

    return model_validator(mode="after")(checked)
