"""One chart of the page: its caption, its data, and its picture."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.analysis.charts import look
from pipeline.analysis.charts.look import Palette
from pipeline.columns import Table, csv_bytes


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
        palette = look.PAGE_PALETTE
        return look.spec(
            self.draw(self.table, palette), palette, width="container", height=self.height
        )

    def data_link(self) -> str:
        """The data as a link that holds them, so that the page can be sent alone."""
        return f"data:text/csv;base64,{base64.b64encode(csv_bytes(self.table)).decode()}"

    def files(self, name: str) -> dict[str, bytes]:
        """The chart as `<name>.png` and its data as `<name>.csv`."""
        drawn = self.draw(self.table, look.FILE_PALETTE)
        image = look.image_files(name, drawn, height=self.height)
        return {f"{name}.png": image[f"{name}.png"], f"{name}.csv": csv_bytes(self.table)}
