"""What an experiment costs with its training rows stored, and with rows made in rounds."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.config import Config
from pipeline.planning.cost import (
    INTERPRETER_BYTES,
    STAGE_START_SECONDS,
    StageCost,
    lower_bytes,
    lower_seconds,
    n_train_rows,
    row_bytes,
    stored_row_bytes,
)
from pipeline.planning.machine import Machine
from pipeline.planning.model_size import ModelSize
from pipeline.shuffle.geometry import MAX_FILES
from pipeline.shuffle.permutation import Permutation

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


def rows_on_disk(rows_per_round: int, n_rows: float) -> float:
    """Most training rows on disk: two rounds where there are two, and one file of buckets."""
    held = min(rows_per_round, n_rows)
    permutation = Permutation(0, int(held))
    buckets = permutation.bucket_rows * -(-permutation.n_buckets // MAX_FILES)
    return held * (1 if held >= n_rows else 2) + min(buckets, held)


def with_rounds(
    config: Config, machine: Machine, sizes: Sequence[ModelSize], costs: Sequence[StageCost]
) -> list[StageCost]:
    """The costs, with what rounds add to each stage that reads training rows."""
    rows_per_round = config.dump.rows_per_round
    if rows_per_round is None:
        return list(costs)
    d_model, weights = sizes[0].d_model, lower_bytes(config, sizes)
    first = float(min(rows_per_round, n_train_rows(config)))
    trained = float(config.train.n_rows or n_train_rows(config))
    trained = first if config.crosscoder.kind == "pretrained" else trained
    # The baselines take means of the first round, and then train on all they need from its start.
    made = {
        "train": trained,
        "seed_runs": trained * (config.seeds.n_runs - 1),
        "baselines": first + (config.baselines.n_train_rows or trained),
    }

    def added(cost: StageCost, n_rows: float) -> StageCost:
        computed = lower_seconds(config, machine, sizes, n_rows, n_rows * row_bytes(d_model))
        # Buckets are read and written once more beside the steps.
        moved = n_rows * (row_bytes(d_model) + stored_row_bytes(config, d_model))
        beside = max(0.0, moved / machine.disk_bytes_per_second - cost.seconds)
        held = rows_on_disk(rows_per_round, n_rows) * row_bytes(d_model)
        return replace(
            cost,
            scratch_bytes=cost.scratch_bytes + held,
            memory_bytes=cost.memory_bytes + weights,
            seconds=cost.seconds + computed + beside,
        )

    found = 4.0 * config.changes.n_find_rows * 2 * d_model
    changes = StageCost("changes", 0.0, 0.0, INTERPRETER_BYTES + found, STAGE_START_SECONDS)
    return [
        *(added(cost, made[cost.stage]) if cost.stage in made else cost for cost in costs),
        added(changes, first),
    ]


def peak_disk(costs: Sequence[StageCost]) -> float:
    """Bytes on disk when the stage with the most scratch space works."""
    kept = sum(cost.disk_bytes for cost in costs)
    return kept + max((cost.scratch_bytes for cost in costs), default=0.0)


def proposed_rows(
    config: Config, machine: Machine, sizes: Sequence[ModelSize], costs: Sequence[StageCost]
) -> int | None:
    """Rows per round that fit the free disk; None where even the smallest rounds do not.

    costs: of the experiment in rounds of whatever size
    """
    rows_per_round, row = config.dump.rows_per_round, row_bytes(sizes[0].d_model)
    assert rows_per_round is not None, "these are no costs of rounds"
    n_rows = n_train_rows(config)
    train = next(cost for cost in costs if cost.stage == "train")
    checkpoints = train.scratch_bytes - rows_on_disk(rows_per_round, n_rows) * row
    kept = sum(cost.disk_bytes for cost in costs)
    room = SHARE_OF_FREE_DISK * machine.free_disk_bytes - kept - checkpoints
    rows = min(int(room / (2 + BUCKET_SHARE) / row), n_rows)
    least = 2 * config.train.batch_rows + 3 * config.mix.sequence_length_tokens
    return None if rows < least else rows // PROPOSED_STEP * PROPOSED_STEP or rows
