"""The two ways to keep training rows, side by side: all of them stored, or made in rounds."""

from pipeline.config import Config
from pipeline.planning.cost import StageCost, aligned, format_bytes, peak_disk, total
from pipeline.planning.machine import H200, Machine
from pipeline.planning.rates import Rates
from pipeline.planning.terms import estimate, rows_on_disk, terms_of
from pipeline.progress import format_seconds

HEADER = ("training rows", "disk at most", "kept", "memory", "time here", "on a card")
SHARE_OF_FREE_DISK = 0.9
"""Of the free disk that a proposal fills: logs, results and the file system want some."""
PROPOSED_STEP = 100_000
"""Proposals are rounded down to whole such numbers of rows."""
BUCKET_SHARE = 0.02
"""Of a large round, at most, in one file of buckets."""


def in_rounds_of(config: Config, rows: int | None) -> Config:
    """The same experiment with rounds of so many rows; None: with all rows stored."""
    update = {"rows_per_round": rows, "scatter_seed": config.shuffle.seed if rows is None else None}
    return config.model_copy(update={"dump": config.dump.model_copy(update=update)})


def ways_table(config: Config, machine: Machine, rates: Rates | None = None) -> str:
    """A table of both ways, and the size of round that fits the free disk. rates: as `estimate`"""
    n_rows, fits = terms_of(config, machine).n_train, round_that_fits(config, machine)
    rows, ways = config.dump.rows_per_round or fits, {"stored": in_rounds_of(config, None)}
    if rows is not None:
        ways[f"{-(-n_rows // rows)} rounds of {rows:,}"] = in_rounds_of(config, rows)
    cells = [
        _cells(name, estimate(way, machine, rates), estimate(way, H200))
        for name, way in ways.items()
    ]
    return f"{aligned([HEADER, *cells])}\n{_proposal(config, fits, n_rows, machine)}"


def round_that_fits(config: Config, machine: Machine) -> int | None:
    """Rows per round for the free disk of a machine; None where not even the smallest rounds fit
    beside what is kept."""
    terms = terms_of(config, machine)
    whole = terms_of(in_rounds_of(config, terms.n_train), machine)
    one_round = rows_on_disk(terms.n_train, terms.n_train) * terms.row_bytes
    beside = total(list(whole.stages())).disk_bytes + whole.train().scratch_bytes - one_round
    room = SHARE_OF_FREE_DISK * machine.free_disk_bytes - beside
    rows = min(int(room / (2 + BUCKET_SHARE) / terms.row_bytes), terms.n_train)
    least = 2 * config.train.batch_rows + 3 * config.mix.sequence_length_tokens
    return None if rows < least else rows // PROPOSED_STEP * PROPOSED_STEP or rows


def _cells(name: str, here: list[StageCost], on_card: list[StageCost]) -> tuple[str, ...]:
    whole = total(here)
    sizes = (peak_disk(here), whole.disk_bytes, whole.memory_bytes)
    times = (whole.seconds, total(on_card).seconds)
    return (name, *map(format_bytes, sizes), *map(format_seconds, times))


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
