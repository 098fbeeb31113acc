"""Dump the paired activations of some sequences into a store per layer, resuming after any kill.

Sequences are run in a fixed grid of batches, so that a resumed dump computes the same batches, and
with them the same bits, as an unbroken one. While the models compute, the store's threads write.
Several processes write a run of chunks each; a batch that reaches into two of these runs is
computed by both, so that every chunk has the bits that one process gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from pipeline.distributed import ALONE, Ranks
from pipeline.harvest.batches import harvest
from pipeline.harvest.census import Census, take_census
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sequences import Sequences
from pipeline.harvest.sink import Sink, Target
from pipeline.progress import Progress
from pipeline.store import StoreReader, activation_layout


def dump(
    targets: Sequence[Target],
    tokens: StoreReader,
    sequences: Sequences,
    pair: HookedPair,
    *,
    batch_tokens: int,
    rows_per_chunk: int,
    codec: str,
    progress_name: str,
    ranks: Ranks = ALONE,
) -> list[dict[str, int]]:
    """Write a row per token of `sequences`, the start left out, at each layer of the pair to the
    target of that layer; the counts of each.

    ranks: the processes that write the stores together; none of them may leave rows out by norm
    Raises NonFiniteError where an activation is infinite or NaN; what was written before is kept.
    """
    batch_sequences = sequences_at_once(tokens, batch_tokens)
    census = ranks.from_first(
        lambda: take_census(tokens, sequences, batch_sequences, pair.start_id)
    )
    layout = activation_layout(
        len(pair.models), pair.d_model, rows_per_chunk, codec, sources=tokens.layout.sources
    )
    with ExitStack() as stack:
        sinks = [stack.enter_context(Sink.open(target, layout, census)) for target in targets]
        _write_rows(sinks, tokens, sequences, pair, census, batch_sequences, progress_name)
        return [sink.finish() for sink in sinks]


def _write_rows(
    sinks: Sequence[Sink],
    tokens: StoreReader,
    sequences: Sequences,
    pair: HookedPair,
    census: Census,
    batch_sequences: int,
    progress_name: str,
) -> None:
    first = min(sink.batches.start for sink in sinks)
    stop = max(sink.batches.stop for sink in sinks)
    sequences = sequences[first * batch_sequences : stop * batch_sequences]
    rows_before = census.first_rows
    with Progress(
        progress_name, total=int(rows_before[stop]), unit="rows", start=int(rows_before[first])
    ) as progress:
        # A store goes on in the middle of a batch, which is computed whole for the same bits.
        batches = harvest(tokens, sequences, pair, batch_sequences) if first < stop else ()
        for number, batch in enumerate(batches, start=first):
            for k, sink in enumerate(sinks):
                sink.take(number, batch, k)
            progress.advance(int(rows_before[number + 1] - rows_before[number]))


def sequences_at_once(tokens: StoreReader, batch_tokens: int) -> int:
    """Sequences of a batch of at most `batch_tokens` tokens, at least one."""
    return max(1, batch_tokens // tokens.layout["token_id"].shape[0])


def first_batch(
    tokens: StoreReader, pair: HookedPair, batch_tokens: int
) -> list[NDArray[np.uint16]]:
    """The bfloat16 bits [R, M, D] of the first batch of the token store, at each layer."""
    batch_sequences = sequences_at_once(tokens, batch_tokens)
    sequences = range(min(batch_sequences, tokens.n_rows))
    batch = next(harvest(tokens, sequences, pair, batch_sequences))
    return [batch.bits(k) for k in range(len(pair.layers))]
