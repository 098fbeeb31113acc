"""What is wrong with Hydra overrides, in one line each: key, found, expected, remedy."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from pipeline.config.keys import suggestion
from pipeline.errors import ConfigError

EXPERIMENT_KEYS = ("experiment", "+experiment")


def chosen_experiments(overrides: Sequence[str]) -> list[str]:
    """The overrides that choose an experiment, as they are given."""
    return [o for o in overrides if o.split("=", 1)[0] in EXPERIMENT_KEYS]


def check_experiment(overrides: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigError unless the overrides choose one of the known experiments, once."""
    chosen = chosen_experiments(overrides)
    names = ", ".join(known)
    if not chosen:
        raise ConfigError(f"no experiment chosen: add +experiment=NAME with one of {names}")
    if len(chosen) > 1:
        raise ConfigError(
            f"experiment is chosen {len(chosen)} times ({' '.join(chosen)}), expected once: "
            "keep one of them"
        )
    key, _, name = chosen[0].partition("=")
    if name not in known:
        stem = PurePath(name).name.removesuffix(".yaml")
        raise ConfigError(
            f"unknown experiment {name!r}{_close(stem, known)}: choose one of {names}, or add "
            f"conf/experiment/{stem or 'NAME'}.yaml"
        )
    if key == "experiment":
        raise ConfigError(f"found {chosen[0]}, expected +{chosen[0]}: add the plus")


CLOSING = {"[": "]", "{": "}", "(": ")"}
QUOTES = "“”„‘’«»"


def split_overrides(text: str) -> list[str]:
    """The overrides in one text, apart at the spaces outside of quotes and brackets. Quotes round
    a whole override go, as in a shell; those round a value stay, because they make it text.

    Raises ConfigError for a quote that nothing closes.
    """
    found, word, quote, depth, escaped = [], "", "", 0, False
    for sign in f"{text} ":
        if sign.isspace() and not quote and depth <= 0:
            found += [_unquoted(word)] if word else []
            word = ""
            continue
        word += sign
        if escaped:
            escaped = False
        elif quote:
            escaped = sign == "\\"
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        else:
            depth += (sign in CLOSING) - (sign in CLOSING.values())
    if word.strip():
        missing = f"the quote {quote}" if quote else "a bracket"
        raise ConfigError(
            f"overrides {text!r} open {missing} that nothing closes (in {word.strip()!r}), "
            "expected KEY=VALUE KEY=VALUE: close it"
        )
    return found


def _unquoted(word: str) -> str:
    """An override without the quotes round the whole of it."""
    is_quoted = word[0] in "'\"" and word[-1] == word[0] and word[0] not in word[1:-1]
    return word[1:-1] if is_quoted and len(word) > 1 else word


def check_readable(overrides: Sequence[str]) -> None:
    """Raise ConfigError for the first override that is not KEY=VALUE with one value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for override in overrides:
        try:
            parsed = parser.parse_override(override)
        except HydraException as error:
            raise ConfigError(_unreadable(override)) from error
        if not parsed.key_or_group:
            raise ConfigError(_unreadable(override))
        if parsed.key_or_group.split(".")[0] == "hydra":
            raise ConfigError(
                f"override {override!r} sets a key of Hydra's, which changes nothing here, "
                "expected keys of conf/: leave it out"
            )
        if parsed.is_sweep_override():
            raise ConfigError(
                f"override {override!r} gives several values, expected one: a list is [1,2], "
                "text with a comma goes in quotes"
            )


def _unreadable(override: str) -> str:
    if override.startswith("-"):
        return (
            f"{override!r} is no option of a stage, expected overrides KEY=VALUE or --help: leave "
            "it out"
        )
    if override.count('"') % 2 or override.count("'") % 2:
        return f"override {override!r} opens a quote that nothing closes: close it"
    if override.startswith(("'", '"')):
        plain, _, text = override.strip("'\"").partition("=")
        return (
            f"override {override!r} begins with a quote, expected KEY=VALUE: put the value alone "
            f"in quotes, {plain}='{text}' (in a shell \"{plain}='{text}'\")"
        )
    key, is_given, value = override.partition("=")
    if not override.isprintable():
        return (
            f"override {override!r} holds a sign that does not show, such as a line break, "
            "expected KEY=VALUE in plain text: remove it"
        )
    if set(override) & set(QUOTES):
        return (
            f"override {override!r} holds the quotes of typeset text, expected KEY=VALUE in plain "
            "text: write ' or \" instead"
        )
    if not is_given:
        return (
            f"override {override!r} cannot be read, expected KEY=VALUE: write both, with = between "
            "them and no spaces round it"
        )
    if key != key.strip() or value.startswith((" ", "=")):
        return (
            f"override {override!r} cannot be read, expected KEY=VALUE: write one = without spaces "
            "round it"
        )
    if value.endswith(",") or ";" in value:
        return (
            f"override {override!r} cannot be read: overrides are parted by spaces alone, without "
            ", or ; between them; text with these signs goes in quotes"
        )
    if key and not set(value) & set("[]{}()"):
        return (
            f"override {override!r} cannot be read, expected plain text after =: put text with "
            f"other signs in quotes, {key}='{value}' (in a shell \"{key}='{value}'\")"
        )
    return (
        f"override {override!r} cannot be read, expected KEY=VALUE: a list is [1,2], text with "
        "other signs goes in quotes"
    )


def missing_values(keys: Sequence[str]) -> ConfigError:
    """The error for keys that conf/ leaves open (`???`)."""
    return ConfigError(
        "\n       ".join(
            f"{key} is missing, expected a value: add {key}=VALUE to the overrides" for key in keys
        )
    )


REFUSALS = (
    (
        r"Could not override '(?P<key>plant\.groups\.(?P<group>\w+)\.\w+)'",
        "{key} is not in conf/ (found {given!r}): if plant.groups.{group} takes it from "
        "plant.feature, add the plus, +{key}=VALUE; else mend its spelling",
    ),
    (
        r"Could not override '(?P<key>mix\.shares[^'=]*)",
        "{key} names a source that conf/ does not have there (found {given!r}): add it with two "
        "pluses, '++mix.shares={{NAME: SHARE, OTHER: null}}', where null takes one out",
    ),
    (
        r"Could not override '(?P<key>[^'=]+)",
        "{key} is no key of conf/ (found {given!r}){hint}: mend its spelling or remove it",
    ),
    (
        r"Could not delete (?:from config\. )?'(?P<key>[^'=]+)",
        "{key} is no key of conf/ that can go (found {given!r}){hint}: mend its spelling or "
        "remove it",
    ),
    (
        r"Could not append to config\. An item is already at '(?P<key>[^']+)'",
        "{key} is in conf/ already (found {given!r}), expected {key}=VALUE: leave out the plus",
    ),
    (
        r"In '(?P<file>[^']+)': Could not override '(?P<key>[^'=]+)'\. No match",
        "conf/{file}.yaml overrides {key}, for which conf/ has no default there{hint}: give its "
        "default first, or mend its name",
    ),
    (
        r"(?:Multiple values for )?(?P<key>\S+?)(?:\. To override| appears more than once)",
        "{key} is in conf/ already (found {given!r}), expected {key}=NAME: leave out the plus",
    ),
    (
        r"In '.*': Could not find '(?P<key>.+)/(?P<name>[^/']+)' Available options in '.*': "
        r"(?P<options>.*)",
        "{key} is {name!r}, expected one of {options}{hint}: change it in the overrides",
    ),
    (
        r"Config group override must be a string or a list\. Got (?P<kind>\w+)",
        "{key} is a group of conf/ and takes the name of a file there (found {given!r}): name one "
        "of conf/{key}/, or set one of its keys, {key}.KEY=VALUE",
    ),
    (
        r"Interpolation key '(?P<name>[^']+)' not found full_key: (?P<key>\S+)",
        "{key} refers to ${{{name}}}, which is no key of conf/: mend the name",
    ),
    (
        r".*Environment variable '(?P<name>[^']+)' not found.* full_key: (?P<key>\S+)",
        "{key} refers to the environment variable {name}, which is not set: set it, or write the "
        "value itself",
    ),
    (
        r"Error merging override \+*(?P<key>[^=]+)=",
        "{key} cannot be set so (found {given!r}), expected a value of the form that it has in "
        "conf/, a list [a,b], keys {{a: b}} or one value: write it in that form",
    ),
    (
        r".*Missing mandatory value: (?P<key>\S+)",
        "{key} is missing, expected a value: add {key}=VALUE to the overrides",
    ),
)
"""Hydra's wording and this project's."""
CIRCLE = (
    "the defaults of {experiment} lead back to itself, expected a list that ends: remove the one "
    "that does"
)


def uncomposable(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """The error for what Hydra refuses, in this project's words where these are known."""
    if isinstance(error, RecursionError):
        return ConfigError(CIRCLE.format(experiment=" ".join(chosen_experiments(overrides))))
    reason = " ".join(str(error).split("Config search path")[0].split())
    given = {override.lstrip("+~").split("=", 1)[0]: override for override in overrides}
    for hydras, ours in REFUSALS:
        if found := re.match(hydras, reason):
            parts = found.groupdict()
            key = parts.setdefault("key", _group_without_name(given))
            if "options" in parts:
                options = parts["options"].split()
                parts["options"] = ", ".join(options)
                hint = _close(parts["name"], options)
            else:
                hint = suggestion(key)
            return ConfigError(ours.format(given=given.get(key, key), hint=hint, **parts))
    return ConfigError(
        f"conf/ cannot be composed with {' '.join(overrides)}: {reason or type(error).__name__}: "
        "see conf/ for the keys there are; `a.b=1` changes a key"
    )


def _close(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _group_without_name(given: Mapping[str, str]) -> str:
    """The first override of a whole section whose value is no name of a file, such as `train=3`."""
    groups = [key for key in given if "." not in key and key not in EXPERIMENT_KEYS]
    named = re.compile(r"[^=]*=[A-Za-z_]\w*")
    odd = [k for k in groups if not named.fullmatch(given[k]) or given[k].endswith("=null")]
    return (odd or groups or [""])[0]
