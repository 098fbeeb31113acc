"""Dump the paired activations of some sequences into a store, resuming after any kill.

Sequences are run in a fixed grid of batches, so that a resumed dump computes the same batches, and
with them the same bits, as an unbroken one. While the models compute, the store's threads write.
Several processes write a run of chunks each; a batch that reaches into two of these runs is
computed by both, so that every chunk has the bits that one process gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.distributed import ALONE, Ranks
from pipeline.errors import NonFiniteError
from pipeline.harvest.census import Census, rows_of, take_census
from pipeline.harvest.pair import HookedPair, PairedForward, Rows
from pipeline.harvest.sequences import Sequences, token_batches
from pipeline.labels import MODELS
from pipeline.progress import Progress
from pipeline.store import OpenWriter, RowWriter, StoreReader, activation_layout

EXPONENT_BITS = 0x7F80  # all set: infinity or NaN in bfloat16
PER_TOKEN = ("token_id", "document", "source", "token_class")

Change = Callable[[NDArray[np.uint16], dict[str, NDArray[np.generic]]], NDArray[np.uint16]]
"""A batch's bfloat16 bits [R, M, D] and their labels to the rows to store, as many as before."""


@dataclass(frozen=True)
class Harvested:
    """A batch on its way: its rows, and the per-row arrays that go with them."""

    rows: Rows
    labels: dict[str, NDArray[np.generic]]


def dump(
    open_writer: OpenWriter,
    tokens: StoreReader,
    sequences: Sequences,
    pair: HookedPair,
    *,
    batch_tokens: int,
    rows_per_chunk: int,
    codec: str,
    progress_name: str,
    change: Change | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, int]:
    """Write a row per token of `sequences`, the start left out, with `open_writer`; the counts.

    change: what is done to each batch's rows before they are stored; it must depend on the rows
    and labels of the batch alone, so that a resumed dump stores the same.
    ranks: the processes that write the store together
    Raises NonFiniteError where an activation is infinite or NaN; what was written before is kept.
    """
    length = tokens.layout["token_id"].shape[0]
    batch_sequences = max(1, batch_tokens // length)
    census = ranks.from_first(
        lambda: take_census(tokens, sequences, batch_sequences, pair.start_id)
    )
    layout = activation_layout(
        len(pair.models), pair.d_model, rows_per_chunk, codec, sources=tokens.layout.sources
    )
    with open_writer(layout, census.n_rows) as writer:
        if not writer.sealed:
            _write_rows(
                writer, tokens, sequences, pair, census, batch_sequences, progress_name, change
            )
            writer.finish()
    return census.counts


def _write_rows(
    writer: RowWriter,
    tokens: StoreReader,
    sequences: Sequences,
    pair: HookedPair,
    census: Census,
    batch_sequences: int,
    progress_name: str,
    change: Change | None,
) -> None:
    row, stop_row = writer.next_row, min(writer.stop_row, census.n_rows)
    first, last = census.batch_of(row), census.batch_of(max(stop_row - 1, 0))
    sequences = sequences[first * batch_sequences : (last + 1) * batch_sequences]
    with Progress(progress_name, total=stop_row, unit="rows", start=row) as progress:
        # The store goes on in the middle of a batch, which is computed whole for the same bits: its
        # rows that are on disk already are skipped, and those of another process's chunks too.
        skip = row - int(census.first_rows[first])
        for batch in harvest(tokens, sequences, pair, batch_sequences) if row < stop_row else ():
            activations = batch.rows.ready()
            if not batch.rows.finite():
                raise NonFiniteError(
                    _non_finite(activations, batch.labels, pair, tokens.layout.sources)
                )
            n = min(len(activations) - skip, stop_row - row)
            stored = change(activations, batch.labels) if change else activations
            arrays = {"activations": stored, **batch.labels}
            writer.append({name: array[skip : skip + n] for name, array in arrays.items()})
            progress.advance(n)
            row += n
            skip = 0


def first_batch(tokens: StoreReader, pair: HookedPair, batch_tokens: int) -> NDArray[np.uint16]:
    """The bfloat16 bits [R, M, D] of the first batch of the token store."""
    batch_sequences = max(1, batch_tokens // tokens.layout["token_id"].shape[0])
    sequences = range(min(batch_sequences, tokens.n_rows))
    return next(harvest(tokens, sequences, pair, batch_sequences)).rows.ready()


def harvest(
    tokens: StoreReader, sequences: Sequences, pair: HookedPair, batch_sequences: int
) -> Iterator[Harvested]:
    """Batches of `sequences` in order, one ahead: the next is computing while one is handed out."""
    length = tokens.layout["token_id"].shape[0]
    forward = PairedForward(pair, batch_sequences * length)
    waiting: Harvested | None = None
    n_done = 0
    for batch in token_batches(tokens, sequences, batch_sequences, PER_TOKEN):
        is_row = rows_of(batch["token_id"], pair.start_id)
        numbers = np.asarray(sequences[n_done : n_done + len(is_row)], np.int32)
        ahead = Harvested(forward(batch["token_id"], is_row), _labels(batch, is_row, numbers))
        n_done += len(is_row)
        if waiting is not None:
            yield waiting
        waiting = ahead
    if waiting is not None:
        yield waiting


def _labels(
    batch: dict[str, np.ndarray], is_row: NDArray[np.bool_], numbers: NDArray[np.int32]
) -> dict[str, NDArray[np.generic]]:
    """Per-row arrays of a batch of the sequences that have these numbers in the token store."""
    sequence, position = np.nonzero(is_row)
    return {
        **{name: batch[name][is_row] for name in PER_TOKEN},
        "sequence": numbers[sequence],
        "position": position.astype(np.int32),
    }


def _non_finite(
    activations: NDArray[np.uint16],
    labels: dict[str, NDArray[np.generic]],
    pair: HookedPair,
    sources: Sequence[str],
) -> str:
    is_bad = (activations & EXPONENT_BITS) == EXPONENT_BITS
    row, model, _ = (int(index[0]) for index in np.nonzero(is_bad))
    where = {name: int(array[row]) for name, array in labels.items()}
    name = MODELS[model] if model < len(MODELS) else str(model)
    return (
        f"models.{name} gives {int(is_bad[row, model].sum())} activations that are not finite at "
        f"hook_point.layer {pair.layer}, in sequence {where['sequence']} of the token store, "
        f"position {where['position']} (source {sources[where['source']]}, document "
        f"{where['document']}): use hook_point.dtype=float32, hook_point.attention=eager, "
        "or check the model's weights"
    )
