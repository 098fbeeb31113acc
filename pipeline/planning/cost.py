"""The cost of a stage, the costs of several together, and both as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.progress import format_seconds

HEADER = ("stage", "disk", "scratch", "memory", "time")


@dataclass(frozen=True)
class StageCost:
    """disk: bytes left behind; scratch: bytes used meanwhile; memory: peak bytes; rough seconds."""

    stage: str
    disk_bytes: float
    scratch_bytes: float
    memory_bytes: float
    seconds: float


def total(costs: Sequence[StageCost]) -> StageCost:
    """Disk and time add up; scratch and memory are the largest of any stage."""
    return StageCost(
        "all",
        sum(cost.disk_bytes for cost in costs),
        max((cost.scratch_bytes for cost in costs), default=0.0),
        max((cost.memory_bytes for cost in costs), default=0.0),
        sum(cost.seconds for cost in costs),
    )


def peak_disk(costs: Sequence[StageCost]) -> float:
    """Bytes on disk when the stage with the most scratch space works."""
    whole = total(costs)
    return whole.disk_bytes + whole.scratch_bytes


def plan_table(costs: Sequence[StageCost]) -> str:
    """An aligned table with a line per stage and a total."""
    return aligned([HEADER, *(_cells(cost) for cost in [*costs, total(costs)])])


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


def _cells(cost: StageCost) -> tuple[str, ...]:
    sizes = (format_bytes(b) for b in (cost.disk_bytes, cost.scratch_bytes, cost.memory_bytes))
    return (cost.stage, *sizes, format_seconds(cost.seconds))


def format_bytes(n: float) -> str:
    """`0`, `12 MB`, `3.69 TB`: decimal units, three digits."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return "< 1 MB" if n > 0 else "0"
