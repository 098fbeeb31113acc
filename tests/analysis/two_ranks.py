"""Two ranks in one process: threads that meet in each reduction, where processes would."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipeline.distributed import Ranks

T = TypeVar("T")
BOUND_SECONDS = 60.0


@dataclass
class Meeting:
    barrier: Barrier = field(default_factory=lambda: Barrier(2, timeout=BOUND_SECONDS))
    brought: list[Any] = field(default_factory=lambda: [None, None])


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    """What the analyses ask of ranks, over two threads."""

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

    def everyones(self, items: list[T]) -> list[T]:
        return [item for each in self._everyone(items) for item in each]


def in_two(work: Callable[[Ranks], T]) -> list[T]:
    """What each of two ranks gets."""
    meeting = Meeting()
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, [ThreadRanks(rank, 2, meeting) for rank in range(2)]))
