"""A section of the page, and its charts: one file says what it shows, one template where."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.analysis import charts
from pipeline.analysis.charts import Palette
from pipeline.columns import Table, csv_bytes
from pipeline.report.findings import Findings
from pipeline.report.grid import Grid


@dataclass(frozen=True)
class Chart:
    """draw: table, palette -> the chart; table: the data it shows; caption: what to see in it.

    opens: what a click does: "" nothing, "latent" opens it, else the column of the browser that
    the bar's range filters
    """

    caption: str
    height: int
    table: Table
    draw: Callable[[Table, Palette], Any]
    opens: str = ""

    def spec(self) -> dict[str, Any]:
        """Vega-Lite for the page."""
        palette = charts.PAGE_PALETTE
        return charts.spec(
            self.draw(self.table, palette), palette, width="container", height=self.height
        )

    def data_link(self) -> str:
        """The data as a link that holds them, so that the page can be sent alone."""
        return f"data:text/csv;base64,{base64.b64encode(csv_bytes(self.table)).decode()}"

    def files(self, name: str) -> dict[str, bytes]:
        """The chart as `<name>.png` and its data as `<name>.csv`."""
        drawn = self.draw(self.table, charts.FILE_PALETTE)
        image = charts.image_files(name, drawn, height=self.height)
        return {f"{name}.png": image[f"{name}.png"], f"{name}.csv": csv_bytes(self.table)}


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
