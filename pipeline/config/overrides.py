"""What is wrong with Hydra overrides, in one line each: key, found, expected, remedy."""

import difflib
import re
from collections.abc import Sequence

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
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(
            f"unknown experiment {name!r}{hint}: choose one of {names}, or add "
            f"conf/experiment/{name or 'NAME'}.yaml"
        )
    if key == "experiment":
        raise ConfigError(f"found {chosen[0]}, expected +{chosen[0]}: add the plus")


def check_readable(overrides: Sequence[str]) -> None:
    """Raise ConfigError for the first override that is not KEY=VALUE with one value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for override in overrides:
        try:
            is_sweep = parser.parse_override(override).is_sweep_override()
        except HydraException as error:
            raise ConfigError(
                f"override {override!r} cannot be read, expected KEY=VALUE: a list is [1,2], "
                "text with other signs goes in quotes"
            ) from error
        if is_sweep:
            raise ConfigError(
                f"override {override!r} gives several values, expected one: a list is [1,2], "
                "text with a comma goes in quotes"
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
        r"Could not override '(?P<key>[^'=]+)",
        "{key} is no key of conf/ (found {given!r}): mend its spelling or remove it",
    ),
    (
        r"Could not delete (?:from config\. )?'(?P<key>[^'=]+)",
        "{key} is no key of conf/ that can go (found {given!r}): mend its spelling or remove it",
    ),
    (
        r"Could not append to config\. An item is already at '(?P<key>[^']+)'",
        "{key} is in conf/ already (found {given!r}), expected {key}=VALUE: leave out the plus",
    ),
    (
        r"(?:Multiple values for )?(?P<key>\S+?)(?:\. To override| appears more than once)",
        "{key} is in conf/ already (found {given!r}), expected {key}=NAME: leave out the plus",
    ),
    (
        r"In '.*': Could not find '(?P<key>.+)/(?P<name>[^/']+)' Available options in '.*': "
        r"(?P<options>.*)",
        "{key} is {name!r}, expected one of {options}: change it in the overrides",
    ),
    (
        r".*Missing mandatory value: (?P<key>\S+)",
        "{key} is missing, expected a value: add {key}=VALUE to the overrides",
    ),
)
"""Hydra's wording and this project's."""


def uncomposable(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """The error for what Hydra refuses, in this project's words where these are known."""
    reason = " ".join(str(error).split("Config search path")[0].split())
    for hydras, ours in REFUSALS:
        if found := re.match(hydras, reason):
            parts = found.groupdict()
            keys = {override.lstrip("+~").split("=", 1)[0]: override for override in overrides}
            if "options" in parts:
                parts["options"] = ", ".join(parts["options"].split())
            given = keys.get(parts["key"], parts["key"])
            return ConfigError(ours.format(given=given, **parts))
    return ConfigError(
        f"conf/ cannot be composed with {' '.join(overrides)}: {reason}: "
        "see conf/ for the keys there are; `a.b=1` changes a key"
    )
