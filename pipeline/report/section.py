"""A section of the page: one file says what it shows, one template where."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.report.chart import Chart
from pipeline.report.findings import Findings
from pipeline.report.grid import Grid


@dataclass(frozen=True)
class Shown:
    """What a section has to show of one run.

    charts, tables: by the name its template gives them (of charts, one for the whole page)
    facts: what else its template names; sentences: what the overview says of it
    """

    charts: Mapping[str, Chart] = field(default_factory=dict)
    tables: Mapping[str, Grid] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """name: of its template and its address; title: in the navigation.

    show: what there is of a run; None where the run has no such result
    """

    name: str
    title: str
    show: Callable[[Findings], Shown | None]
