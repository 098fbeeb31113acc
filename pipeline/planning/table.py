"""The plan as text."""

from collections.abc import Sequence

from pipeline.planning.cost import StageCost
from pipeline.progress import format_seconds

HEADER = ("stage", "disk", "scratch", "memory", "time")


def plan_table(costs: Sequence[StageCost]) -> str:
    """An aligned table with a line per stage and a total."""
    return aligned([HEADER, *(_cells(cost) for cost in costs), _cells(total(costs))])


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of cells as text, the first column to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def total(costs: Sequence[StageCost]) -> StageCost:
    """Disk and time add up; scratch and memory are the largest of any stage."""
    return StageCost(
        "all",
        sum(cost.disk_bytes for cost in costs),
        max(cost.scratch_bytes for cost in costs),
        max(cost.memory_bytes for cost in costs),
        sum(cost.seconds for cost in costs),
    )


def _cells(cost: StageCost) -> tuple[str, ...]:
    sizes = (format_bytes(b) for b in (cost.disk_bytes, cost.scratch_bytes, cost.memory_bytes))
    return (cost.stage, *sizes, format_seconds(cost.seconds))


def format_bytes(n: float) -> str:
    """`0`, `12 MB`, `3.69 TB`: decimal units, three digits."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return "< 1 MB" if n > 0 else "0"
