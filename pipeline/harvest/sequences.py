"""Batches of sequences of the token store: a run of them, or some that were chosen."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.store import StoreReader

Sequences = range | NDArray[np.int64]
"""Numbers of sequences in the token store, rising."""

READ_SEQUENCES = 512
"""Chosen sequences read at a time: chunks hold several, and each is read whole."""


def token_batches(
    tokens: StoreReader, sequences: Sequences, batch_sequences: int, names: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """The named arrays of `batch_sequences` sequences at a time, the last batch as it comes."""
    if isinstance(sequences, range):
        yield from tokens.batches(batch_sequences, sequences.start, sequences.stop, names)
        return
    step = -(-READ_SEQUENCES // batch_sequences) * batch_sequences
    for first in range(0, len(sequences), step):
        chosen = sequences[first : first + step]
        arrays = {name: tokens.take(name, chosen) for name in names}
        for start in range(0, len(chosen), batch_sequences):
            yield {name: array[start : start + batch_sequences] for name, array in arrays.items()}
