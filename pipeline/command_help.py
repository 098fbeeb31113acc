"""The text of --help: what a command reads, writes and costs, and the keys that decide it."""

from collections.abc import Sequence
from typing import Any

from pipeline.config.compose import COMPOSED, CONF
from pipeline.config.keys import meaning
from pipeline.config.refused import shown
from pipeline.config.yaml_files import read_yaml
from pipeline.errors import PipelineError

HELP_COLUMNS = 100


def help_text(doc: str, sections: Sequence[str]) -> str:
    """A command's docstring, then each key of its sections with its value and meaning."""
    if not sections:
        return f"{doc.strip()}\n"
    plain = composed()
    origin = (
        f"{COMPOSED} (experiment {plain['experiment']})" if plain else "run `dvc repro compose`"
    )
    lines = [doc.strip(), "", f"configuration, set in conf/ or by KEY=VALUE; values: {origin}"]
    for section in sections:
        home = CONF / section if (CONF / section).is_dir() else CONF / "config.yaml"
        lines.append(f"  {section}  ({home})")
        lines += [_line(key, value) for key, value in _leaves(section, plain.get(section))]
    return "\n".join([*lines, ""])


def composed() -> dict[str, Any]:
    """The values of the present run; empty where there are none."""
    try:
        plain = read_yaml(COMPOSED)
    except PipelineError:
        return {}
    return plain if isinstance(plain, dict) and "experiment" in plain else {}


def _line(key: str, value: Any) -> str:
    words = meaning(key)
    line = f"    {key} = {shown(value)}" + (f"  {words}" if words else "")
    return line if len(line) <= HELP_COLUMNS else f"{line[: HELP_COLUMNS - 3]}..."


def _leaves(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for name, inside in value.items() for leaf in _leaves(f"{key}.{name}", inside)]
    return [] if value is None and "." not in key else [(key, value)]
