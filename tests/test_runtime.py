"""Named random streams, device and memory."""

from pathlib import Path
from types import SimpleNamespace

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


def test_the_device_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(runtime, "CARD_FILE", tmp_path / "none")
    assert runtime.describe_device("auto") == "computing on the CPU"
    card = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert runtime.describe_device("auto") == "computing on cuda:0: NVIDIA H100, 80 GiB, CUDA 13.0"


def test_a_card_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(runtime, "CARD_FILE", tmp_path)
    told = runtime.describe_device("auto")
    assert told.startswith(
        "computing on the CPU; warning: PyTorch, built for CUDA 13.0, cannot use"
    )
    assert runtime.describe_device("cpu") == "computing on the CPU"
    with pytest.raises(ConfigError, match="driver may be older"):
        runtime.resolve_device("cuda")
