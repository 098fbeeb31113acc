"""Tables as columns, and their CSV."""

from typing import Any

Table = dict[str, list[Any]]
"""Column name -> values."""


def csv_bytes(table: Table) -> bytes:
    """The table as CSV with a header line."""
    lines = [
        ",".join(table),
        *(",".join(map(str, row)) for row in zip(*table.values(), strict=True)),
    ]
    return ("\n".join(lines) + "\n").encode()
