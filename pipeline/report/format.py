"""How the page writes numbers."""

import re
from collections.abc import Callable

from pipeline.results import Measured

MISSING = "–"
TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Controls of the bidirectional algorithm (Unicode Standard Annex 9)."""


def number(value: float | None, digits: int = 3) -> str:
    """A number for reading: thousands separated, `digits` significant digits for fractions."""
    if value is None or value != value:
        return MISSING
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(value: float | None, digits: int = 1) -> str:
    if value is None or value != value:
        return MISSING
    told = f"{value:.{digits}%}"
    return told.removeprefix("-") if not told.strip("-0.%") else told


def share(value: float | None, digits: int = 0) -> str:
    """A share of variance or KL, in a sentence. What is worse than nothing has no size that would
    tell more: where models hardly differ it is hundreds of times the difference."""
    is_worse = value is not None and round(value, digits + 2) < 0
    return "less than 0%" if is_worse else percent(value, digits).removeprefix("-")


def fixed(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None or value != value else f"{value:.{digits}f}"


def interval(figure: Measured, digits: int = 3) -> str:
    """`0.79 to 0.83`, or nothing where it is not defined."""
    if figure["low"] is None:
        return ""
    return f"{fixed(figure['low'], digits)} to {fixed(figure['high'], digits)}"


def tail(text: str, n_characters: int = 28) -> str:
    """The end of a text, with an ellipsis where something was left out."""
    return text if len(text) <= n_characters else f"…{text[-n_characters:]}"


def visible(text: str) -> str:
    """A token's white space that would break the line or not be seen, as a sign, and no hidden
    direction."""
    if text and not text.strip(" "):
        return "␣" * len(text)
    return plain(text).replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")


def plain(text: str) -> str:
    """Text of which no character turns the direction of what follows: such controls are written
    as their code."""
    return TURNING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "percent": percent,
    "fixed": fixed,
    "plain": plain,
    "visible": visible,
}
