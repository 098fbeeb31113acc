"""How the page writes numbers."""

from collections.abc import Callable

MISSING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """A number for reading: thousands separated, `digits` significant digits for fractions."""
    if value is None:
        return MISSING
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(value: float | None, digits: int = 1) -> str:
    return MISSING if value is None else f"{value:.{digits}%}"


def fixed(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None or value != value else f"{value:.{digits}f}"


def estimate(figure: dict[str, float | None], digits: int = 3) -> str:
    """`0.812` of {value, low, high}."""
    return fixed(figure["value"], digits)


def interval(figure: dict[str, float | None], digits: int = 3) -> str:
    """`0.79 to 0.83`, or nothing where it is not defined."""
    if figure["low"] is None:
        return ""
    return f"{fixed(figure['low'], digits)} to {fixed(figure['high'], digits)}"


def tail(text: str, n_characters: int = 28) -> str:
    """The end of a text, with an ellipsis where something was left out."""
    return text if len(text) <= n_characters else f"…{text[-n_characters:]}"


def visible(text: str) -> str:
    """A token's white space that would break the line, as a sign."""
    return text.replace("\n", "⏎").replace("\t", "⇥")


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "percent": percent,
    "fixed": fixed,
    "estimate": estimate,
    "interval": interval,
    "tail": tail,
    "visible": visible,
}
