"""Training rows that are made round by round, behind the interface of a stored shuffle.

Rows are counted within an epoch, positions over all epochs.
"""

import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.distributed import ALONE, Ranks
from pipeline.rounds.descriptor import Described
from pipeline.rounds.order import Order, Round
from pipeline.store import StoreReader
from pipeline.store.batches import WHOLE, Allocate, Part
from pipeline.store.chunkfile import aligned_empty
from pipeline.store.seal import is_sealed

BUCKETS, ROWS = "buckets", "rows.zarr"
REMOVED = "removed-"
ACTIVATIONS = "activations"


class PutsInOrder(Protocol):
    """What writes the rows of buckets in their order; see `shuffle.Ordering`."""

    def write(self, report: Callable[[int], None], /) -> None: ...

    def finish(self) -> int: ...

    def close(self) -> None: ...


class MakesRounds(Protocol):
    """What makes the rows of a round; see `making.Maker`."""

    def deal(self, each: Round, buckets: Path, /) -> None: ...

    def ordering(self, buckets: Path, rows: Path, /) -> PutsInOrder: ...


@dataclass(frozen=True)
class _Begun:
    """A round whose rows are being put in order. Where several processes do that, they meet before
    `writing` and after it: the training meets them meanwhile."""

    name: str
    ordering: PutsInOrder
    writing: Future[None]


class _StoppedError(Exception):
    """Ends the shuffle of a round that nobody waits for any more."""


class RoundRows(AbstractContextManager["RoundRows"]):
    """The rows of a descriptor, made by `maker` in `folder`. Use as a context manager.

    Two rounds are on disk at most: the one that is read, and the next one in the making. Rows of
    a round that is not there are made when they are asked for.
    seed: of the order of epoch 0; later epochs have the seed that `batches` is given
    ranks: the processes that read them. They ask for the same batches, of which each may want
    another part, and make rounds together; the first decides what is there and removes it
    """

    def __init__(
        self,
        described: Described,
        seed: int,
        folder: Path,
        maker: MakesRounds,
        n_threads: int = 2,
        ranks: Ranks = ALONE,
    ) -> None:
        self.described, self.seed, self.folder, self.maker = described, seed, folder, maker
        self.n_threads, self.ranks = n_threads, ranks
        self._buckets = BUCKETS if ranks.size == 1 else f"{BUCKETS}-of-{ranks.size}"
        self._order: Order | None = None
        self._readers: dict[str, StoreReader] = {}
        self._pool = ThreadPoolExecutor(1, "round-shuffle")
        self._begun: _Begun | None = None
        self._is_stopping = threading.Event()

    def __exit__(self, *error: object) -> None:
        self._stop()
        self._pool.shutdown()
        for name in list(self._readers):
            self._readers.pop(name).close()

    @property
    def n_rows(self) -> int:
        """Rows of one epoch."""
        return self.described.n_rows

    @property
    def n_first_rows(self) -> int:
        """Rows of the first round."""
        return self.order(0, self.seed).round(0).n_rows

    def first(self) -> StoreReader:
        """The rows of the first round, a uniform sample of the sequences."""
        return self._reader(self.order(0, self.seed).round(0))

    def order(self, epoch: int, seed: int) -> Order:
        """The order of an epoch."""
        wanted = seed if epoch else self.seed
        if self._order is None or (self._order.epoch, self._order.seed) != (epoch, wanted):
            self._order = self.described.order(wanted, epoch)
        return self._order

    def batches(
        self,
        batch_rows: int,
        start_row: int = 0,
        stop_row: int | None = None,
        *,
        epoch: int = 0,
        seed: int = 0,
        keep: int = 1,
        allocate: Allocate = aligned_empty,
        part: Part = WHOLE,
    ) -> Iterator[dict[str, Any]]:
        """As those of a StoreReader, round after round."""
        order, row = self.order(epoch, seed), start_row
        last = self.n_rows if stop_row is None else stop_row
        while row < last:
            held = order.round_at(row)
            # Whole batches are views of the round's store; the one that begins in this round and
            # ends in the next is put together in memory of its own.
            n_whole = (min(held.stop, last) - row) // batch_rows * batch_rows
            stop = last if last <= held.stop else row + n_whole
            if row < stop:
                yield from self._reader(held).batches(
                    batch_rows,
                    row - held.start,
                    stop - held.start,
                    keep=keep,
                    allocate=allocate,
                    part=part,
                )
            if stop < last:
                after = min(stop + batch_rows, last)
                yield {ACTIVATIONS: self._across(order, stop, after, allocate, part)}
                stop = after
            row = stop

    def prepare(self, seed: int, position: int, stop: int) -> int:
        """Make ready for the positions from `position` on, of `stop` in all; how far they go.

        All that was read before is in a checkpoint: rounds that lie before the position go. Then
        the next round is computed, and put in order while this one is trained on.
        seed: of the order of later epochs
        """
        now, end = self._round_of(seed, position)
        ahead = self._round_of(seed, end)[0] if end < stop else None
        self._keep(now, ahead)
        if ahead is not None and not self._is_there(ahead):
            self._rows(now)  # whole before the next one is begun beside it
            self._begin(ahead)
        return min(end, stop)

    def _round_of(self, seed: int, position: int) -> tuple[Round, int]:
        """The round that holds a position, and the position after its last row."""
        epoch, row = divmod(position, self.n_rows)
        held = self.order(epoch, seed).round_at(row)
        return held, position - row + held.stop

    def _across(
        self, order: Order, first: int, stop: int, allocate: Allocate, part: Part
    ) -> np.ndarray:
        """The wanted rows of a batch `[first, stop)` that lies in several rounds."""
        wanted = part(stop - first)
        low, high = first + wanted.start, first + wanted.stop
        pieces, row = [], first
        # Every round is opened, also one without a wanted row: ranks make rounds together.
        while row < stop:
            held = order.round_at(row)
            begin = min(max(row, low), held.stop)
            end = max(begin, min(high, held.stop))
            reader = self._reader(held)
            pieces.append(reader.read(ACTIVATIONS, begin - held.start, end - held.start))
            row = held.stop
        batch = allocate((high - low, *pieces[0].shape[1:]), pieces[0].dtype)
        return np.concatenate(pieces, out=batch)

    def _reader(self, held: Round) -> StoreReader:
        if held.name not in self._readers:
            self._readers[held.name] = StoreReader.open(self._rows(held), n_threads=self.n_threads)
        return self._readers[held.name]

    def _rows(self, held: Round) -> Path:
        """The store of a round, made here and now where it is missing."""
        if not self._is_there(held):
            self._stop()
            # A batch may be open that began in the round before.
            self._keep(held, *list(self._readers)[-1:])
            self._begin(held)
        if self._begun is not None and self._begun.name == held.name:
            self._begun.writing.result()
            self._begun.ordering.finish()
            self._begun.ordering.close()
            self._begun = None
            if self.ranks.is_first:
                shutil.rmtree(self.folder / held.name / self._buckets)
        return self.folder / held.name / ROWS

    def _is_there(self, held: Round) -> bool:
        """Whether a round is whole or will be without a further call."""
        if self._begun is not None and self._begun.name == held.name:
            return True
        return self.ranks.from_first(lambda: self._is_whole(self.folder / held.name))

    def _is_whole(self, folder: Path) -> bool:
        """Whether the store of a round is whole; what is of no use beside it goes."""
        if is_sealed(folder / ROWS):
            for buckets in folder.glob(f"{BUCKETS}*"):
                shutil.rmtree(buckets, ignore_errors=True)
            return True
        if folder.exists() and not (folder / self._buckets).exists():
            # As many processes as began it know which of its rows are durable and which of its
            # buckets are gone; others make it anew.
            _remove(folder)
        return False

    def _begin(self, ahead: Round) -> None:
        """Deal a round to buckets, and begin to put it in order."""
        buckets = self.folder / ahead.name / self._buckets
        self.maker.deal(ahead, buckets)
        ordering = self.maker.ordering(buckets, self.folder / ahead.name / ROWS)
        writing = self._pool.submit(ordering.write, self._report)
        self._begun = _Begun(ahead.name, ordering, writing)

    def _report(self, n_rows: int) -> None:  # noqa: ARG002
        if self._is_stopping.is_set():
            raise _StoppedError

    def _stop(self) -> None:
        """Leave the shuffle of the next round unfinished; it is taken up from there."""
        if self._begun is None:
            return
        self._is_stopping.set()
        self._begun.writing.exception()
        self._begun.ordering.close()
        self._begun = None
        self._is_stopping.clear()

    def _keep(self, *rounds: Round | str | None) -> None:
        """Remove every round but these."""
        names = {each.name if isinstance(each, Round) else each for each in rounds}
        if self._begun is not None and self._begun.name not in names:
            self._stop()
        for name in self._readers.keys() - names:
            self._readers.pop(name).close()
        self.ranks.meet()  # nobody reads any more what goes
        self.ranks.from_first(lambda: remove_rounds(self.folder, but=names))


def remove_rounds(folder: Path, but: Collection[str | None] = ()) -> None:
    """Remove every round in `folder` but those of these names."""
    for each in [*folder.glob("epoch-*"), *folder.glob(f"{REMOVED}*")]:
        if each.name not in but:
            _remove(each)


def _remove(each: Path) -> None:
    """Remove a round. A kill in between leaves none that looks whole."""
    removed = each
    if not each.name.startswith(REMOVED):
        removed = each.with_name(f"{REMOVED}{each.name}")
        shutil.rmtree(removed, ignore_errors=True)
        each.replace(removed)
    shutil.rmtree(removed)
