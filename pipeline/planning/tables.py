"""Costs as text: a line per stage, and both ways to keep training rows side by side."""

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.planning.rates import Machine, Rates, on_a_card
from pipeline.planning.terms import StageCost, Terms, estimate, rows_on_disk
from pipeline.progress import format_seconds

STAGES = ("stage", "disk", "scratch", "memory", "time")
WAYS = ("training rows", "disk at most", "kept", "memory", "time here", "on a card")
SHARE_OF_FREE_DISK = 0.9
"""Of the free disk that a proposal fills: logs, results and the file system want some."""
PROPOSED_STEP = 100_000
"""Proposals are rounded down to whole such numbers of rows."""
BUCKET_SHARE = 0.02
"""Of a large round, at most, in one file of buckets."""


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
    return total(costs).disk_bytes + total(costs).scratch_bytes


def plan_table(costs: Sequence[StageCost]) -> str:
    """An aligned table with a line per stage and a total."""
    lines = []
    for cost in [*costs, total(costs)]:
        sizes = map(format_bytes, (cost.disk_bytes, cost.scratch_bytes, cost.memory_bytes))
        lines.append((cost.stage, *sizes, format_seconds(cost.seconds)))
    return aligned([STAGES, *lines])


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of cells as text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(line) for line in lines)


def format_bytes(n: float) -> str:
    """`0`, `12 MB`, `3.69 TB`: decimal units, three digits."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return "< 1 MB" if n > 0 else "0"


def in_rounds_of(config: Config, rows: int | None) -> Config:
    """The same experiment with rounds of so many rows; None: with all rows stored."""
    update = {"rows_per_round": rows, "scatter_seed": config.shuffle.seed if rows is None else None}
    return config.model_copy(update={"dump": config.dump.model_copy(update=update)})


def ways_table(config: Config, machine: Machine, rates: Rates) -> str:
    """A table of both ways, and the size of round that fits the free disk."""
    terms, fits = Terms(config), round_that_fits(config, machine)
    rows, ways = config.dump.rows_per_round or fits, {"stored": in_rounds_of(config, None)}
    if rows is not None:
        ways[f"{-(-terms.n_train // rows)} rounds of {rows:,}"] = in_rounds_of(config, rows)
    lines = []
    for name, way in ways.items():
        here = estimate(way, rates)
        card, sum_ = total(estimate(way, on_a_card(way, terms.d_model))), total(here)
        sizes = map(format_bytes, (peak_disk(here), sum_.disk_bytes, sum_.memory_bytes))
        lines.append((name, *sizes, format_seconds(sum_.seconds), format_seconds(card.seconds)))
    return f"{aligned([WAYS, *lines])}\n{_proposal(config, fits, terms.n_train, machine)}"


def round_that_fits(config: Config, machine: Machine) -> int | None:
    """Rows per round for the free disk of a machine; None where not even the smallest rounds fit
    beside what is kept."""
    whole = Terms(in_rounds_of(config, Terms(config).n_train))
    n_rows, stages = whole.n_train, whole.stages()
    beside = sum(needs.get("disk", 0.0) for needs in stages.values())
    beside += stages["train"]["scratch"] - rows_on_disk(n_rows, n_rows) * whole.row_bytes
    room = SHARE_OF_FREE_DISK * machine.free_disk_bytes - beside
    rows = min(int(room / (2 + BUCKET_SHARE) / whole.row_bytes), n_rows)
    least = 2 * config.train.batch_rows + 3 * config.mix.sequence_length_tokens
    return None if rows < least else rows // PROPOSED_STEP * PROPOSED_STEP or rows


def _proposal(config: Config, fits: int | None, n_rows: int, machine: Machine) -> str:
    free = f"the {format_bytes(machine.free_disk_bytes)} that are free"
    if fits is None:
        return f"no size of round fits {free}"
    if fits >= n_rows:
        return f"all rows in one round fit {free}: dump.rows_per_round=null stores them"
    epochs = (config.train.n_rows or 0) / n_rows
    again = f"; {epochs:.3g} epochs compute the rows as often" if epochs > 1 else ""
    return (
        f"rounds that fit {free}: dump.rows_per_round={fits} dump.scatter_seed=null "
        f"(docs/design.md){again}"
    )
