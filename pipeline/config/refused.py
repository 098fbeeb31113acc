"""What the schema refuses, in one line each: key, found, expected, remedy."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipeline.config.keys import key_of, suggestion
from pipeline.errors import ConfigError

MOST_SHOWN = 12
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
SHOWN_CHARACTERS = 120
EXPECTED = {
    "tuple_type": "should be a list, such as [a,b]",
    "too_short": "should have at least one entry",
    "string_too_short": "should be text that is not empty",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "list_type": "should be a list, such as [a,b]",
    "dict_type": "should be keys with values, such as {a: 1}",
    "model_type": "should be keys with values, such as {a: 1}",
    "model_attributes_type": "should be keys with values, such as {a: 1}",
}
"""The validator's name of a problem and what is expected."""
PATTERNS = {
    "^[a-z]": "should be a name of lower-case letters, digits and _",
    r"^\S(": "should be one line of text without space at its ends",
    r"^[\w.-]": "should be NAME or OWNER/NAME",
}
"""How a pattern of the schema begins, and what it asks for."""
VALIDATORS_SUBJECT = re.compile(r"^(input|string|value|list|tuple|dictionary) ")
"""What the validator calls a value, which Python has as a tuple where conf/ has a list."""


def refused(error: ValidationError) -> ConfigError:
    """The error that lists what the schema refuses, one line for each value."""
    lines = _merged([(key_of(problem["loc"]), problem) for problem in error.errors()])
    rest = len(lines) - MOST_SHOWN
    more = [f"and {rest} more: mend these first"] if rest > 0 else []
    return ConfigError("\n       ".join([*lines[:MOST_SHOWN], *more]))


LARGEST = 10**12
"""Far more than there is of anything that is counted; what memory or disk is counted in is not."""
UNBOUNDED = ("seed", "_bytes")
"""How keys end that may hold any number."""


def check_sizes(plain: Any) -> None:
    """Raise ConfigError for a whole number larger than any machine can follow."""
    if huge := [*_huge((), plain)]:
        raise ConfigError("\n       ".join(huge[:MOST_SHOWN]))


def _huge(place: tuple[str | int, ...], value: Any) -> Iterator[str]:
    if isinstance(value, Mapping | list):
        inside = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, each in inside:
            yield from _huge((*place, name), each)
    elif isinstance(value, int) and value > LARGEST and not str(place[-1]).endswith(UNBOUNDED):
        yield f"{'.'.join(map(str, place))} is {value}, expected at most {LARGEST:,}: lower it"


def _merged(problems: Sequence[tuple[str, Any]]) -> list[str]:
    """One line for each problem; keys of one name with one value, which follow one another in
    conf/ (`${seed}`), share the line of the first."""
    lines: dict[tuple[str, str], str] = {}
    also: dict[tuple[str, str], int] = {}
    for key, problem in problems:
        line = explain(key, problem)
        same = key.rpartition(".")[2], line.removeprefix(key)
        if same in lines and same[0]:
            also[same] = also.get(same, 0) + 1
        else:
            lines[same] = line
    return [
        line + (f" (and {also[same]} more keys called {same[0]})" if same in also else "")
        for same, line in lines.items()
    ]


def explain(key: str, problem: Any) -> str:
    """One line for one refused key: key, value, expectation, remedy."""
    value, kind = problem["input"], problem["type"]
    if kind == "missing":
        return f"{key} is missing: set it in conf/ or add {key}=VALUE to the overrides"
    if kind in ("extra_forbidden", "invalid_key"):
        return (
            f"{key} is unknown (value {shown(value)}){suggestion(key)}: remove it or mend its "
            "spelling in conf/"
        )
    if kind == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
        return message if not key or message.startswith(key) else f"{key}: {message}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        allowed = problem["ctx"].get("expected_tags", "one of its kinds")
        found = problem["ctx"].get("tag", "none")
        return f"{key}.kind is {found!r}, expected one of {allowed}: change it in conf/"
    if kind == "string_type" and isinstance(value, int | float):
        found = "truth value" if isinstance(value, bool) else "number"
        return (
            f"{key} was read as the {found} {shown(value)}, but it should be text: put "
            f"it in quotes as you wrote it, {key}='...' (in a shell \"{key}='...'\")"
        )
    expected = EXPECTED.get(kind) or _pattern(problem)
    expected = expected or VALIDATORS_SUBJECT.sub("", problem["msg"].lower())
    return f"{key} is {shown(value)}, but it {expected}: {_remedy(kind, key, value)}"


def _pattern(problem: Any) -> str:
    asked = (problem.get("ctx") or {}).get("pattern", "")
    return next((words for begin, words in PATTERNS.items() if asked.startswith(begin)), "")


def _remedy(kind: str, key: str, value: Any) -> str:
    if isinstance(value, str) and kind in ("tuple_type", "list_type"):
        return f"write {key}=[{value}]"
    if isinstance(value, str) and kind in ("int_type", "float_type", "bool_type"):
        if not value.strip():
            return "give it a value, in conf/ or in the overrides"
        if kind == "bool_type" or not NUMBER.fullmatch(value):
            return "write it out, without a unit or another sign, in conf/ or in the overrides"
        return "write it without quotes, in conf/ or in the overrides"
    return "change it in conf/ or in the overrides"


def shown(value: Any) -> str:
    """A value as YAML has it, cut where it is long."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
