"""The section on the configuration: every value that decides a result."""

from typing import Any

from pipeline.paths import shortened
from pipeline.report.findings import Findings
from pipeline.report.section import Section, Shown

Line = tuple[int, str, str]


def show(findings: Findings) -> Shown:
    plain = findings.config.model_dump(mode="json", exclude={"runtime"})
    sections = {name: lines(part) for name, part in plain.items() if isinstance(part, dict)}
    return Shown(facts={"sections": sections})


SECTION = Section("configuration", "Configuration", show)


def lines(section: dict[str, Any], depth: int = 0) -> list[Line]:
    """(depth, key, value) of a configuration section, nested ones below their key."""
    found: list[Line] = []
    for key, value in section.items():
        if isinstance(value, dict):
            found.append((depth, key, ""))
            found += lines(value, depth + 1)
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            found.append((depth, key, "null" if value is None else shortened(shown)))
    return found
