"""The ranks of a job; what they reduce over processes is tested in tests/training."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import distributed
from pipeline.distributed import Mesh, Ranks
from pipeline.errors import ConfigError, LostProcessError, ReductionError

DUPLICATE = """NCCL error in: ProcessGroupNCCL.cpp:3690, invalid usage, NCCL version 2.27.5
ncclInvalidUsage: This usually reflects invalid usage of NCCL library.
Last error:
Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1b000"""
SHARED_MEMORY = """NCCL error in: NCCLUtils.hpp:268, unhandled system error, NCCL version 2.27.5
ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.
Last error:
Error while creating shared memory segment /dev/shm/nccl-7ziPmx (size 9637888)"""


@given(n=st.integers(0, 1000), size=st.integers(1, 40))
def test_the_parts_of_all_ranks_are_the_whole_in_order(n: int, size: int):
    parts = [Ranks(rank, size).part(n) for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(
    values=st.lists(st.floats(2.0**-100, 2.0**100, width=32), min_size=1, max_size=60),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    data=st.data(),
)
def test_the_kth_largest_is_exact(values: list[float], dtype: torch.dtype, data: st.DataObject):
    """A second rank that holds nothing adds nothing to any sum."""
    k = data.draw(st.integers(1, len(values)))
    tensor = torch.tensor(values, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "_all_reduce", lambda tensor, op=None: None)
        found = Ranks(0, 2).kth_largest(tensor, k)
    assert found.dtype == dtype
    assert torch.equal(found, tensor.sort(descending=True).values[k - 1])
    assert torch.equal(Ranks().kth_largest(tensor, k), found)


def test_one_process_is_one_rank_and_reduces_nothing(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    ranks = distributed.world()
    assert ranks == Ranks(0, 1)
    tensor = torch.tensor([1.0, 2.0])
    ranks.sum(tensor)
    assert tensor.tolist() == [1.0, 2.0]
    assert ranks.gathered(tensor) == [tensor]
    assert ranks.from_first(lambda: 5) == ranks.total(5) == 5
    assert Mesh.of(ranks, "latents").all.size == 1


def test_the_threads_of_a_machine_are_shared(monkeypatch: pytest.MonkeyPatch):
    assert distributed.share_of_threads(8) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert distributed.share_of_threads(8) == 2
    assert distributed.share_of_threads(1) == 1


def test_a_process_without_its_peers_says_so_in_bounded_time():
    environment = os.environ | {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
    }
    code = (
        "from pipeline.distributed import joined\n"
        "from pipeline.errors import LostProcessError\n"
        "try:\n"
        "    with joined(2.0, 'cpu', 'x'): pass\n"
        "except LostProcessError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("rank 1 of 2: another process of this job has ended")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer", LostProcessError),
        ("Timed out waiting 1800000ms for recv operation to complete", LostProcessError),
        ("ncclRemoteError: a remote process exiting prematurely", LostProcessError),
        (DUPLICATE, ReductionError),
        (SHARED_MEMORY, ReductionError),
    ],
)
def test_an_error_in_a_reduction_is_told_for_what_it_is(text: str, expected: type[Exception]):
    with pytest.raises(expected) as told, distributed._peers():
        raise RuntimeError(text)
    assert text.splitlines()[-1].split("] ")[-1] in str(told.value)
    assert "\n" not in str(told.value)


def test_a_lack_of_memory_in_a_reduction_stays_what_it_is():
    with pytest.raises(torch.OutOfMemoryError), distributed._peers():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_more_processes_than_cards_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    distributed.check_cards(2)
    with pytest.raises(ConfigError, match=r"2 processes .* 1 CUDA .*--nproc-per-node=1"):
        distributed.check_cards(1)
