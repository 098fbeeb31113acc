"""Batches of activation rows, in the order of the shuffled store, over one or more epochs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.store.batches import WHOLE, Allocate, Part
from pipeline.store.chunkfile import aligned_empty

ACTIVATIONS = "activations"


class RowSource(Protocol):
    """What training needs of a store's reader."""

    @property
    def n_rows(self) -> int: ...

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
        """The wanted part of each batch of rows `[start_row, stop_row)` of an epoch, the last
        short batch included; valid until `keep` further ones were asked for. Epoch 0 is the stored
        order. allocate: makes the memory that rows are read into."""
        ...


class Rounds(Protocol):
    """Rows that exist a part at a time. Positions count the rows of all epochs."""

    def prepare(self, seed: int, position: int, stop: int) -> int:
        """Make rows from `position` on ready, of those up to `stop`; the position they end at.
        Rows before `position` are given up. seed: of the order of later epochs."""
        ...


@dataclass(frozen=True)
class Batch:
    """Rows [start_row, stop_row) in the order of an epoch counted from 0.

    x_raw: [B, M, D], the part of them that was wanted
    """

    x_raw: Tensor
    epoch: int
    start_row: int
    stop_row: int

    def __len__(self) -> int:
        return self.stop_row - self.start_row


@dataclass
class Stream:
    """`n_rows` rows in batches of `batch_rows`, epoch after epoch; no batch spans two epochs.

    seed: of the order of the epochs after the first
    rounds: what makes the rows of the source and gives them up; None: all are there throughout
    part: the rows of each batch that are wanted here
    page_locked: whether rows are read into memory that a GPU copies from by itself; a batch then
        stays valid until two further ones were asked for
    waited_seconds: time spent waiting for the source so far
    """

    source: RowSource
    batch_rows: int
    n_rows: int
    seed: int
    rounds: Rounds | None = None
    part: Part = WHOLE
    page_locked: bool = False
    waited_seconds: float = field(default=0.0, init=False)

    @property
    def n_steps(self) -> int:
        """Batches in the whole stream."""
        epochs, rest = divmod(self.n_rows, self.source.n_rows)
        per_epoch = -(-self.source.n_rows // self.batch_rows)
        return epochs * per_epoch + -(-rest // self.batch_rows)

    def stretches(self, n_rows_done: int = 0) -> Iterator[int]:
        """The rows of the stream up to which each stretch of batches goes, from `n_rows_done` on.

        A stretch holds the batches that begin in one round. When the next one is asked for, what
        was trained on the last one must be in a checkpoint, because its round is given up.
        """
        while n_rows_done < self.n_rows:
            if self.rounds is None:
                yield self.n_rows
                return
            end = self.rounds.prepare(self.seed, n_rows_done, self.n_rows)
            before = n_rows_done - n_rows_done % self.source.n_rows
            in_epoch = -(-(end - before) // self.batch_rows) * self.batch_rows
            n_rows_done = min(before + min(in_epoch, self.source.n_rows), self.n_rows)
            yield n_rows_done

    def batches(self, n_rows_done: int = 0, stop_row: int | None = None) -> Iterator[Batch]:
        """The batches of the rows `[n_rows_done, stop_row)` of the stream, each of them a row at
        which a batch ends."""
        last = self.n_rows if stop_row is None else stop_row
        while n_rows_done < last:
            epoch, start = divmod(n_rows_done, self.source.n_rows)
            stop = min(self.source.n_rows, start + last - n_rows_done)
            for batch in self._epoch(epoch, start, stop):
                n_rows_done += len(batch)
                yield batch

    def _epoch(self, epoch: int, start: int, stop: int) -> Iterator[Batch]:
        parts = self.source.batches(
            self.batch_rows,
            start,
            stop,
            epoch=epoch,
            seed=self.seed,
            keep=2 if self.page_locked else 1,
            allocate=page_locked_empty if self.page_locked else aligned_empty,
            part=self.part,
        )
        for first in range(start, stop, self.batch_rows):
            began = time.perf_counter()
            x_raw = as_tensor(next(parts)[ACTIVATIONS])
            self.waited_seconds += time.perf_counter() - began
            yield Batch(x_raw, epoch, first, min(first + self.batch_rows, stop))


def as_tensor(activations: np.ndarray) -> Tensor:
    """Stored activations as a tensor that shares their memory; uint16 is bfloat16's bits."""
    tensor = torch.from_numpy(activations)
    return tensor.view(torch.bfloat16) if activations.dtype == np.uint16 else tensor


def page_locked_empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """`np.empty` in page-locked memory, which begins at a block boundary."""
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
    return memory.numpy().view(dtype).reshape(shape)


def uploaded(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches with their rows on the device, copied there one ahead of use.

    On a GPU the copy of the next batch runs on a stream of its own, beside the step on this one,
    where the rows lie in page-locked memory.
    """
    if device.type == "cpu":
        yield from batches
        return
    copying = torch.cuda.Stream(device)
    ahead: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copying):
            x_raw = batch.x_raw.to(device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(copying)
        if ahead is not None:
            yield from _in_use(*ahead)
        ahead = replace(batch, x_raw=x_raw), copied
    if ahead is not None:
        yield from _in_use(*ahead)


def _in_use(batch: Batch, copied: torch.cuda.Event) -> Iterator[Batch]:
    """One batch, its rows safe to use on the current stream."""
    current = torch.cuda.current_stream(batch.x_raw.device)
    current.wait_event(copied)
    # The memory belongs to the other stream: it must not be given out again while this one reads.
    batch.x_raw.record_stream(current)
    yield batch
    # The source fills the batch's memory on the host anew when it is next asked.
    if not copied.query():
        copied.synchronize()
