"""Named random streams, device and memory."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import runtime
from pipeline.errors import ConfigError


@given(st.integers(0, 2**63), st.text(max_size=8))
def test_a_stream_is_a_function_of_seed_and_name(seed: int, name: str) -> None:
    one = runtime.numpy_generator(seed, name).integers(0, 2**62, 4)
    two = runtime.numpy_generator(seed, name).integers(0, 2**62, 4)
    assert (one == two).all()


def test_streams_of_other_names_and_seeds_differ() -> None:
    keys = [(0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (10, "")]
    assert len({runtime.stream_seed(seed, *names) for seed, *names in keys}) == len(keys)


def test_a_torch_stream_does_not_touch_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    torch.rand(3, generator=runtime.generator(0, "weights"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_asking_for_an_absent_gpu_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.resolve_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match=r"runtime\.device"):
        runtime.resolve_device("cuda")


def test_memory_is_measured_in_bytes() -> None:
    assert 10 * 2**20 < runtime.resident_memory_bytes() <= runtime.peak_memory_bytes() * 1.05
