"""Costs as text: a line per stage, and both ways to keep training rows side by side."""

from bisect import bisect_right
from collections.abc import Sequence

from pipeline.config import Config
from pipeline.planning.rates import Machine, Rates, on_a_card
from pipeline.planning.terms import Cost, Costs, Terms, estimate
from pipeline.progress import format_seconds

STAGES = ("stage", "disk", "scratch", "memory", "time")
WAYS = ("training rows", "disk at most", "kept", "memory", "time here", "on a card")
SHARE_OF_FREE_DISK = 0.9
"""Of the free disk that a proposal fills: logs, results and the file system want some."""
PROPOSED_STEP = 100_000
"""Proposals are rounded down to whole such numbers of rows."""


def total(costs: Costs) -> Cost:
    """Disk and time add up; scratch and memory are the largest of any stage."""
    each = [*costs.values(), Cost(0, 0, 0, 0)]
    disk, seconds = (sum(getattr(cost, name) for cost in each) for name in ("disk", "seconds"))
    return Cost(disk, max(c.scratch for c in each), max(c.memory for c in each), seconds)


def peak_disk(costs: Costs) -> float:
    """Bytes on disk when the stage with the most scratch space works."""
    return total(costs).disk + total(costs).scratch


def plan_table(costs: Costs) -> str:
    """An aligned table with a line per stage and a total."""
    rows = costs | {"all": total(costs)}
    lines = [(n, *map(format_bytes, c[:3]), format_seconds(c.seconds)) for n, c in rows.items()]
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
        here = estimate(way, rates, machine.n_processes)
        card = total(estimate(way, on_a_card(way, terms.d_model)))
        sizes = map(format_bytes, (peak_disk(here), total(here).disk, total(here).memory))
        times = (format_seconds(cost.seconds) for cost in (total(here), card))
        lines.append((name, *sizes, *times))
    return f"{aligned([WAYS, *lines])}\n{_proposal(config, fits, terms.n_train, machine)}"


def round_that_fits(config: Config, machine: Machine) -> int | None:
    """Rows per round for the free disk of a machine; None where not even the smallest rounds fit
    beside what is kept."""

    def peak(n_rows: int) -> float:
        return peak_disk(estimate(in_rounds_of(config, n_rows), Rates(), machine.n_processes))

    least = 2 * config.train.batch_rows + 3 * config.mix.sequence_length_tokens
    sizes = range(least, Terms(config).n_train + 1)
    n_fit = bisect_right(sizes, SHARE_OF_FREE_DISK * machine.free_disk_bytes, key=peak)
    if n_fit == len(sizes):
        return sizes.stop - 1
    rows = sizes.start + n_fit - 1
    return rows // PROPOSED_STEP * PROPOSED_STEP or rows if n_fit else None


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
