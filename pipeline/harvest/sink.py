"""Where the rows of one layer go: which batches a store still needs, and what is kept of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.harvest.batches import Harvested
from pipeline.harvest.census import Census
from pipeline.harvest.outliers import NormLimits
from pipeline.harvest.tally import Tally, counts_of
from pipeline.store import OpenWriter, RowWriter, StoreLayout

Labels = dict[str, NDArray[np.generic]]
Change = Callable[[NDArray[np.uint16], Labels], NDArray[np.uint16]]
"""A batch's bfloat16 bits [R, M, D] and their labels to the rows to store, as many as before."""


@dataclass(frozen=True)
class NormFilter:
    """Rows beyond the limits are left out, and counted in `folder`, where the rows are stored."""

    limits: NormLimits
    folder: Path


@dataclass(frozen=True)
class Target:
    """Where the rows of a layer go.

    change: what is done to each batch's rows before they are stored; it must depend on the rows
    and labels of the batch alone, so that a resumed dump stores the same
    norms: which rows are left out before that; None: none
    """

    open_writer: OpenWriter
    change: Change | None = None
    norms: NormFilter | None = None


class Sink:
    """A store in the making. It is given batches in order, from `first_batch` on or earlier: rows
    that are on disk already are skipped, and so are those of another process's chunks."""

    def __init__(self, target: Target, writer: RowWriter, census: Census, sources: tuple[str, ...]):
        self._target, self._writer, self._census = target, writer, census
        self._sources = sources
        norms = target.norms
        self._tally = Tally.open(norms.folder) if norms else None

    @classmethod
    @contextmanager
    def open(cls, target: Target, layout: StoreLayout, census: Census) -> Iterator[Sink]:
        """Create the store, or take it up where an earlier run left it."""
        with target.open_writer(layout, census.n_rows) as writer:
            yield cls(target, writer, census, layout.sources)

    @property
    def batches(self) -> range:
        """The batches that it still needs."""
        n, writer = self._census.n_batches, self._writer
        if writer.sealed:
            return range(n, n)
        if self._tally is not None:
            first = self._tally.batch_of(writer.next_row)
            return range(first, n)
        row, stop_row = writer.next_row, min(writer.stop_row, self._census.n_rows)
        if row >= stop_row:
            return range(n, n)
        return range(self._census.batch_of(row), self._census.batch_of(stop_row - 1) + 1)

    def take(self, number: int, batch: Harvested, k: int) -> None:
        """Store what is kept of a batch's rows at layer number `k`."""
        if number not in self.batches:
            return
        bits, labels = self._kept(number, batch.bits(k), batch.labels)
        if not len(bits):
            return
        if self._target.change is not None:
            bits = self._target.change(bits, labels)
        first_row = self._first_row(number)
        skip = max(0, self._writer.next_row - first_row)
        stop = min(len(bits), self._writer.stop_row - first_row)
        arrays = {"activations": bits, **labels}
        self._writer.append({name: array[skip:stop] for name, array in arrays.items()})

    def finish(self) -> dict[str, int]:
        """Seal the store; its counts.

        Raises ConfigError where the filter has left nothing of a source.
        """
        if not self._writer.sealed:
            self._writer.finish()
        if self._tally is None:
            return self._census.counts
        self._check_sources(self._tally)
        return self._census.counts | self._tally.counts

    def _first_row(self, number: int) -> int:
        if self._tally is None:
            return int(self._census.first_rows[number])
        return self._tally.first_row(number)

    def _kept(
        self, number: int, bits: NDArray[np.uint16], labels: Labels
    ) -> tuple[NDArray[np.uint16], Labels]:
        """The rows of a batch without those that the filter leaves out, which it counts."""
        if self._tally is None or self._target.norms is None:
            return bits, labels
        beyond_RM = self._target.norms.limits.beyond(bits)
        if number == self._tally.n_batches:
            self._tally.add(counts_of(labels, beyond_RM, self._sources))
        kept = ~beyond_RM.any(axis=1)
        return bits[kept], {name: array[kept] for name, array in labels.items()}

    def _check_sources(self, tally: Tally) -> None:
        for source in self._sources:
            n_rows = self._census.counts.get(f"n_{source}_rows", 0)
            if n_rows and not tally.counts[f"n_{source}_rows"]:
                assert self._target.norms is not None
                raise ConfigError(
                    f"dump.max_norm_ratio is {self._target.norms.limits.ratio:g}, and all "
                    f"{n_rows:,} rows of the source {source} exceed that multiple of the median "
                    "norm, expected some that do not: raise it, or take the source out of "
                    "mix.shares"
                )
