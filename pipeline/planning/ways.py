"""The two ways to keep training rows, side by side: all of them stored, or made in rounds."""

from pipeline.config import Config
from pipeline.planning.cost import n_train_rows
from pipeline.planning.estimate import estimate
from pipeline.planning.machine import H200, Machine
from pipeline.planning.model_size import sizes_of
from pipeline.planning.rounds import in_rounds_of, peak_disk, proposed_rows
from pipeline.planning.table import aligned, format_bytes, total
from pipeline.progress import format_seconds

HEADER = ("training rows", "disk at most", "kept", "memory", "time here", "on a card")


def ways_table(config: Config, machine: Machine) -> str:
    """A table of both ways, and the size of round that fits the free disk."""
    rows = config.dump.rows_per_round or round_that_fits(config, machine)
    ways = [("stored", in_rounds_of(config, None))]
    if rows is not None:
        n_rounds = -(-n_train_rows(config) // rows)
        ways.append((f"{n_rounds} rounds of {rows:,}", in_rounds_of(config, rows)))
    table = aligned([HEADER, *(_cells(name, each, machine) for name, each in ways)])
    fits = round_that_fits(config, machine)
    return f"{table}\n{_proposal(config, fits, machine)}"


def round_that_fits(config: Config, machine: Machine) -> int | None:
    """Rows per round for the free disk of this machine; None where none fit."""
    sizes = sizes_of(config)
    assert sizes is not None, "a plan without sizes has no costs"
    some = in_rounds_of(config, n_train_rows(config))
    return proposed_rows(some, machine, sizes, estimate(some, machine))


def _cells(name: str, config: Config, machine: Machine) -> tuple[str, ...]:
    here, on_card = estimate(config, machine), estimate(config, H200)
    sums = total(here)
    return (
        name,
        format_bytes(peak_disk(here)),
        format_bytes(sums.disk_bytes),
        format_bytes(sums.memory_bytes),
        format_seconds(sums.seconds),
        format_seconds(total(on_card).seconds),
    )


def _proposal(config: Config, fits: int | None, machine: Machine) -> str:
    free = f"the {format_bytes(machine.free_disk_bytes)} that are free"
    if fits is None:
        return f"no size of round fits {free}"
    if fits >= n_train_rows(config):
        return f"all rows in one round fit {free}: dump.rows_per_round=null stores them"
    epochs = (config.train.n_rows or 0) / n_train_rows(config)
    again = f"; {epochs:.3g} epochs compute the rows as often" if epochs > 1 else ""
    return (
        f"rounds that fit {free}: dump.rows_per_round={fits} dump.scatter_seed=null "
        f"(docs/design.md){again}"
    )
