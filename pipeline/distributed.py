"""Several processes on one job, started by `torchrun`; one process is the case of one rank.

    torchrun --nproc-per-node=2 -m stages.train

Every rank runs the same code and meets the others in the reductions of `Ranks`, which are the
identity where there is one rank only. A reduction adds in a fixed order of ranks, and every rank
gets the same bits: with one number of ranks a run gives the same bits every time.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pipeline.errors import (
    ConfigError,
    LostProcessError,
    PipelineError,
    ReductionError,
    is_lack_of_memory,
)

if TYPE_CHECKING:
    from torch import Tensor

LOST = re.compile(
    r"gloo/transport|connection|closed by peer|timed? ?out|broken pipe|socket(?!, malloc)|"
    r"remote process|ncclRemoteError",
    re.IGNORECASE,
)
"""What Gloo, NCCL and the store of the job say when they do not hear of another process."""

T = TypeVar("T")
Shard = Literal["data", "latents"]

SMALL_BYTES = 2**18
"""Tensors below this size are reduced together: a reduction of its own costs a round trip."""

DIGIT_BITS = 11
"""Bits of a number that one round of `Ranks.kth_largest` decides."""


@dataclass(frozen=True)
class Ranks:
    """This process's number among `size` processes that reduce together."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def part(self, n: int) -> range:
        """This rank's share of `n` things in order; shares differ by one at most."""
        return self.part_of(self.rank, n)

    def turn(self, number: int) -> bool:
        """Whether thing number `number`, from 0, is this rank's, where ranks take turns."""
        return number % self.size == self.rank

    def part_of(self, rank: int, n: int) -> range:
        return range(n * rank // self.size, n * (rank + 1) // self.size)

    def once(self, tensor: "Tensor") -> "Tensor":
        """`tensor` on the first rank, zeros on the others: what all have counts once in a sum."""
        return tensor if self.is_first else tensor.new_zeros(tensor.shape)

    def sum(self, *tensors: "Tensor") -> None:
        """Replace each tensor by its sum over the ranks. All are of one type."""
        if self.size == 1:
            return
        small = [t for t in tensors if t.nbytes < SMALL_BYTES]
        for tensor in tensors:
            if tensor.nbytes >= SMALL_BYTES:
                assert tensor.is_contiguous()
                _all_reduce(tensor)
        if small:
            _sum_together(small)

    def begin_sum(self, tensor: "Tensor") -> Callable[[], None] | None:
        """Begin to replace a tensor by its sum over the ranks, while other work goes on. What is
        returned waits for the end of it; None where `sum` would take the tensor with others."""
        if self.size == 1 or tensor.nbytes < SMALL_BYTES:
            return None
        assert tensor.is_contiguous()
        return _begin_all_reduce(tensor)

    def any(self, flags: "Tensor") -> None:
        """Replace booleans by whether they hold on any rank."""
        if self.size > 1:
            import torch

            self.largest(flags.view(torch.uint8))

    def largest(self, tensor: "Tensor") -> None:
        """Replace numbers by the largest of all ranks, place by place."""
        if self.size > 1:
            from torch.distributed import ReduceOp

            _all_reduce(tensor, ReduceOp.MAX)

    def total(self, n: int) -> int:
        """Sum of a whole number over the ranks."""
        if self.size == 1:
            return n
        import torch

        count = torch.tensor([n])
        _all_reduce(count)
        return int(count)

    def norm(self, norm: "Tensor") -> "Tensor":
        """Norm of a vector of which each rank holds a part with the given norm, a scalar."""
        if self.size == 1:
            return norm
        square = norm.square()
        _all_reduce(square)
        return square.sqrt()

    def kth_largest(self, values: "Tensor", k: int) -> "Tensor":
        """The k-th largest of the positive `values` [N] of all ranks, a scalar.

        It is found without rounding. Positive floats are ordered as their bits are: each round
        counts the next digit of the candidates on every rank, so what is sent does not grow with
        their number.
        """
        if self.size == 1:
            return values.topk(k, sorted=False).values.min()
        import torch

        # Everything stays on the device: reading a digit back would make it wait for the host in
        # each round. Candidates are those whose bits so far are those of the answer; `left` is
        # which of them, counted from the largest, is looked for.
        whole = {4: torch.int32, 8: torch.int64}[values.element_size()]
        bits_N = values.view(whole).long()
        candidate_N = torch.ones_like(bits_N)
        prefix, left = bits_N.new_zeros(1), bits_N.new_full((1,), k)
        last_shift = (8 * values.element_size() - 1) // DIGIT_BITS * DIGIT_BITS
        for shift in range(last_shift, -1, -DIGIT_BITS):
            digit_N = (bits_N >> shift) & (2**DIGIT_BITS - 1)
            counts = bits_N.new_zeros(2**DIGIT_BITS).index_add_(0, digit_N, candidate_N)
            self.sum(counts)
            at_least = counts.flip(0).cumsum(0).flip(0)
            # `at_least` falls from digit to digit: the last that still has `left` is the answer's.
            digit = (at_least >= left).sum(0, keepdim=True) - 1
            left = left - (at_least - counts).gather(0, digit)
            candidate_N *= digit_N == digit
            prefix = prefix << DIGIT_BITS | digit
        return prefix.to(whole).view(values.dtype)[0]

    def gathered(self, tensor: "Tensor") -> "list[Tensor]":
        """The tensors of all ranks, equal in shape, in the order of the ranks."""
        if self.size == 1:
            return [tensor]
        import torch
        import torch.distributed as dist

        everyone = [torch.empty_like(tensor) for _ in range(self.size)]
        with _peers():
            dist.all_gather(everyone, tensor.contiguous())
        return everyone

    def everyones(self, items: "list[T]") -> "list[T]":
        """The items of all ranks, in the order of the ranks; they travel pickled."""
        if self.size == 1:
            return items
        import torch.distributed as dist

        everyone: list[Any] = [None] * self.size
        with _peers():
            dist.all_gather_object(everyone, items)
        return [item for each in everyone for item in each]

    def broadcast(self, tensor: "Tensor") -> None:
        """Replace the tensor by the first rank's."""
        if self.size > 1:
            import torch.distributed as dist

            with _peers():
                dist.broadcast(tensor, 0)

    def collect(self, own: "Tensor", whole: "Tensor | None") -> None:
        """Put every rank's part of the leading axis into the first rank's `whole`, on the CPU."""
        import torch.distributed as dist

        if not self.is_first:
            with _peers():
                dist.send(own.detach().cpu().contiguous(), 0)
            return
        assert whole is not None
        parts = [self.part_of(rank, len(whole)) for rank in range(self.size)]
        whole[: len(parts[0])] = own
        for rank, part in enumerate(parts[1:], 1):
            with _peers():
                dist.recv(whole[part.start : part.stop], rank)

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` gives on the first rank, which alone runs it; its PipelineError likewise."""
        if self.size == 1:
            return make()
        import torch.distributed as dist

        answer: list[Any] = [None, None]
        if self.is_first:
            try:
                answer[0] = make()
            except PipelineError as error:
                answer[1] = error
        with _peers():
            dist.broadcast_object_list(answer, 0)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def meet(self) -> None:
        """Wait until every rank is here."""
        self.total(0)


ALONE = Ranks()


@dataclass(frozen=True)
class Mesh:
    """How a training job is divided.

    rows: ranks that hold the same latents and other rows of a batch
    latents: ranks that hold the same rows and other latents
    """

    rows: Ranks = ALONE
    latents: Ranks = ALONE

    @classmethod
    def of(cls, ranks: Ranks, shard: Shard) -> "Mesh":
        """All ranks along one axis."""
        return cls(rows=ranks) if shard == "data" else cls(latents=ranks)

    @property
    def all(self) -> Ranks:
        """All ranks."""
        assert 1 in (self.rows.size, self.latents.size)
        return self.rows if self.rows.size > 1 else self.latents


ONE_PROCESS = Mesh()


def world() -> Ranks:
    """This process among those that `torchrun` started for the job; one rank without it."""
    return Ranks(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def local_rank() -> int:
    """Number of this process among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def share_of_threads(n_threads: int) -> int:
    """CPU threads of this process where the machine has `n_threads` for the job."""
    return max(1, n_threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextmanager
def joined(timeout_seconds: float, device: str, name: str) -> Iterator[None]:
    """Join the ranks of the job; a reduction that takes longer than the timeout is given up.

    name: of what they do together, another one each time that the same job joins
    device: as `runtime.device`. Each rank has a card of its own; ConfigError where there are too
    few of them.
    """
    if world().size == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    signal.signal(signal.SIGTERM, _stopped)
    has_gpu = device != "cpu" and torch.cuda.is_available()
    if has_gpu:
        check_cards(torch.cuda.device_count())
        torch.cuda.set_device(local_rank())
    timeout = timedelta(seconds=timeout_seconds)
    with _peers():
        # The job's store outlives the group. Under the same keys, the next group would find the
        # addresses that this one left there, and wait for processes that listen elsewhere by then.
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if has_gpu else "gloo",
            store=dist.distributed_c10d.PrefixStore(name, _store_of_job(timeout)),
            rank=world().rank,
            world_size=world().size,
            timeout=timeout,
        )
    try:
        yield
    except BaseException:
        # torchrun stops those that are left; they are on their way out.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    dist.destroy_process_group()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@cache
def _store_of_job(timeout: timedelta) -> Any:
    """The store of keys that `torchrun` keeps for the job; without it, the first rank does."""
    from torch.distributed.rendezvous import rendezvous

    store, *_ = next(rendezvous("env://", timeout=timeout))
    store.set_timeout(timeout)
    return store


def check_processes(name: str, *, is_parallel: bool) -> None:
    """Raise ConfigError where a command that cannot be divided was started in several processes:
    each would do the whole of it, and write the same files at the same time."""
    if world().size > 1 and not is_parallel:
        raise ConfigError(
            f"{name} was started in {world().size} processes, but runs in one: start it without "
            "torchrun"
        )


def check_cards(n_cards: int) -> None:
    """Raise ConfigError where two ranks on this machine would share a card: NCCL refuses that,
    later and in many lines."""
    n_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if n_ranks > n_cards:
        raise ConfigError(
            f"{n_ranks} processes were started on this machine, which has {n_cards} CUDA "
            f"device(s), expected one for each: start torchrun with --nproc-per-node={n_cards}, or "
            "set runtime.device=cpu"
        )


def is_first_to_tell() -> bool:
    """Whether no other rank has told of an error before: a job's error is told once."""
    if world().size == 1:
        return True
    import torch.distributed as dist

    if not dist.is_initialized():
        return world().is_first
    try:
        return dist.distributed_c10d._get_default_store().add("errors_told", 1) == 1
    except RuntimeError:  # the count is gone with the process that kept it, the first
        return world().rank <= 1


def _all_reduce(tensor: "Tensor", op: Any = None) -> None:
    import torch.distributed as dist

    with _peers():
        dist.all_reduce(tensor, op or dist.ReduceOp.SUM)


def _begin_all_reduce(tensor: "Tensor") -> Callable[[], None]:
    import torch.distributed as dist

    with _peers():
        work: Any = dist.all_reduce(tensor, async_op=True)

    def finish() -> None:
        with _peers():
            work.wait()

    return finish


def _sum_together(tensors: "list[Tensor]") -> None:
    import torch

    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    _all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(total.view(tensor.shape))


@contextmanager
def _peers() -> Iterator[None]:
    """Turn what the backends raise into LostProcessError where another rank is gone, and into
    ReductionError otherwise. The lack of memory is passed on as it is."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, PipelineError) or is_lack_of_memory(error):
            raise
        # Gloo puts its source file in brackets before the reason; NCCL's reason has many lines.
        reason = " ".join(str(error).split()).split("] ", 1)[-1]
        if LOST.search(str(error)):
            raise LostProcessError(_lost(f"({reason})")) from error
        raise ReductionError(
            f"rank {world().rank} of {world().size} cannot reduce with the other processes of this "
            f"job ({reason}): mend that and run the same command again to resume"
        ) from error


def _stopped(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise LostProcessError(_lost("and this one was told to stop"))


def _lost(why: str) -> str:
    return (
        f"rank {world().rank} of {world().size}: another process of this job has ended {why}; "
        "finished work and the last checkpoint are kept: run the same command again to resume"
    )
