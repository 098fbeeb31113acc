"""Two ranks in one process: threads that meet in each reduction, where processes would."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipeline.distributed import Ranks
from pipeline.errors import PipelineError

T = TypeVar("T")
BOUND_SECONDS = 60.0


@dataclass
class Meeting:
    barrier: Barrier = field(default_factory=lambda: Barrier(2, timeout=BOUND_SECONDS))
    brought: list[Any] = field(default_factory=lambda: [None, None])


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    """What a part of the library asks of ranks, over two threads."""

    meeting: Meeting = field(default_factory=Meeting)

    def _everyone(self, own: T) -> list[T]:
        self.meeting.brought[self.rank] = own
        self.meeting.barrier.wait()
        found = list(self.meeting.brought)
        self.meeting.barrier.wait()
        return found

    def sum(self, *tensors: Tensor) -> None:
        for tensor, *parts in zip(
            tensors, *self._everyone([tensor.clone() for tensor in tensors]), strict=True
        ):
            tensor.copy_(torch.stack(parts).sum(dim=0))

    def largest(self, tensor: Tensor) -> None:
        tensor.copy_(torch.stack(self._everyone(tensor.clone())).amax(dim=0))

    def broadcast(self, tensor: Tensor) -> None:
        tensor.copy_(self._everyone(tensor.clone())[0])

    def total(self, n: int) -> int:
        return sum(self._everyone(n))

    def from_first(self, make: Callable[[], T]) -> T:
        found, error = None, None
        if self.is_first:
            try:
                found = make()
            except PipelineError as raised:
                error = raised
        found, error = self._everyone((found, error))[0]
        if error is not None:
            raise error
        return copy.deepcopy(found)  # type: ignore[return-value]

    def meet(self) -> None:
        self._everyone(None)

    def everyones(self, items: list[T]) -> list[T]:
        return [item for each in self._everyone(items) for item in each]


def in_two(work: Callable[[Ranks], T]) -> list[T]:
    """What each of two ranks gets."""
    meeting = Meeting()
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, [ThreadRanks(rank, 2, meeting) for rank in range(2)]))
