"""YAML files that users edit, and what is wrong with them in one line: file, place, remedy."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError

UNREADABLE = (yaml.YAMLError, ValueError, OSError, RecursionError)
"""What the parser raises for a file."""
CONFLICT = re.compile("^<<<<<<< ", re.MULTILINE)
WORDS = {
    "found character '\\t'": "a tab, where YAML takes spaces: indent with spaces",
    "expected '<document start>'": "keys at other depths than those above: indent keys of one "
    "level alike",
    "mapping values are not allowed": "a colon that begins no value: write `key: value` with a "
    "space after the colon, and put text with a colon in quotes",
    "but found another document": "a second document: remove the line ---",
    "found duplicate key": "the key {last} for the second time: keep one of the two",
    "could not determine a constructor for the tag": "the tag {last}, expected plain values: "
    "remove it, or put text that starts with ! in quotes",
    "special characters are not allowed": "a control character, expected text: remove it",
    "found undefined alias": "the alias {last}, which nothing defines: write the value itself, or "
    "put text that starts with * in quotes",
}
"""The parser's wording and this project's."""


def read_yaml(path: Path) -> Any:
    """The plain data of a YAML file. ConfigError where it cannot be read, and where it holds a key
    twice, a tag or a bare value."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} not found: run in the root of the repository") from error
    except (OmegaConfBaseException, *UNREADABLE) as error:
        raise ConfigError(broken(path, error)) from error


def check_mappings(paths: Iterable[Path]) -> None:
    """Raise ConfigError for the first of these files that does not hold keys with values."""
    for path in paths:
        found = read_yaml(path)
        is_word = isinstance(found, dict) and ":" not in path.read_text() and found
        if not isinstance(found, dict) or is_word:
            raise ConfigError(
                f"{path} holds {path.read_text()[:40]!r}, expected keys with values, one a line, "
                "as `key: value`: mend it"
            )


def broken(path: Path, error: Exception) -> str:
    """One line on why a file is no YAML that this project reads."""
    if isinstance(error, yaml.YAMLError) and CONFLICT.search(path.read_text(errors="replace")):
        return f"{path} holds the marks of a conflict of git (<<<<<<<): keep one side of it"
    if isinstance(error, UnicodeDecodeError):
        reason = f"byte {error.start} is not UTF-8: save the file as UTF-8"
    elif isinstance(error, OSError):
        reason = f"{error.strerror or error}: expected a YAML file that this user can read"
    elif isinstance(error, RecursionError):
        reason = "nested too deeply, expected a few levels: mend it"
    elif isinstance(error, yaml.YAMLError):
        reason = _reason(error)
    else:
        reason = f"{' '.join(str(error).replace('full_key', 'in').split())}: mend the value"
    return f"{_place(path, error)} cannot be read: {reason}"


def _place(path: Path, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)


def _reason(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    found = " ".join(str(problem).split())
    for parsers, ours in WORDS.items():
        if parsers in found:
            return "found " + ours.format(last=found.rsplit(maxsplit=1)[-1].strip("'\""))
    return f"{found}: expected YAML; mend it there, or put text with : # [ {{ in quotes"
