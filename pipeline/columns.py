"""Tables as columns, and the one way in which the project writes CSV."""

import csv
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

Table = dict[str, list[Any]]
"""Column name -> values."""


class Columns(Protocol):
    """A Table, or a pandas.DataFrame: pairs of a name and its values."""

    def items(self) -> Iterable[tuple[Any, Iterable[Any]]]: ...


def csv_bytes(table: Columns, *, digits: int | None = None) -> bytes:
    """The table as CSV: a header line, quotes where a value holds a comma, and nothing where a
    value is None or NaN. digits: significant ones of floats; all that tell them apart by default.
    """
    columns = dict(table.items())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_cell(value, digits) for value in row])
    return text.getvalue().encode()


def parquet_bytes(table: "pd.DataFrame") -> bytes:
    """The table as Parquet, without an index."""
    written = io.BytesIO()
    table.to_parquet(written, index=False)
    return written.getvalue()


def _cell(value: Any, digits: int | None) -> str:
    if value is None or value != value:  # NaN alone differs from itself
        return ""
    if digits is not None and isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value)


def rows_of(table: Table) -> list[dict[str, Any]]:
    """The table as one dict per row."""
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def table_of(rows: Iterable[dict[str, Any]], names: Iterable[str]) -> Table:
    """The named columns of rows; empty columns where there is no row."""
    kept = list(rows)
    return {name: [row[name] for row in kept] for name in names}
