"""What every stage does for its user at its start and at its end."""

import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import compose
from pipeline.errors import OutOfMemoryError
from pipeline.stage import Stage, clear_memory_errors, tell_device, use_runtime

STAGE = Stage("train", (), memory_keys=("train.batch_rows",))


def on_the_card() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")


def in_torch() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def in_numpy() -> None:
    np.empty(2**60, np.uint8)


def beyond_counting_in_torch() -> None:
    torch.empty((2**40, 2**40))


def beyond_counting_in_numpy() -> None:
    np.empty((2**40, 2**40))


@pytest.mark.parametrize(
    "fail", [on_the_card, in_torch, in_numpy, beyond_counting_in_torch, beyond_counting_in_numpy]
)
def test_a_lack_of_memory_is_one_line_with_the_key_to_lower(fail) -> None:
    with pytest.raises(OutOfMemoryError) as told, clear_memory_errors(STAGE):
        fail()
    assert str(told.value).startswith("train ran out of memory (")
    assert str(told.value).endswith(": lower train.batch_rows")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_another_error_is_passed_on_as_it_is(error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^shapes$"), clear_memory_errors(STAGE):
        raise error("shapes")


def test_a_stage_tells_its_device_where_it_computes_on_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = compose(["+experiment=tiny", "runtime.device=cpu"])
    tell_device(STAGE, config)
    assert capsys.readouterr().err == "train: computing on the CPU\n"
    tell_device(Stage("mix", ()), config)
    assert capsys.readouterr().err == ""


def test_the_workspace_of_cublas_is_set_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {})
    use_runtime(compose(["+experiment=tiny"]))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize("name", sorted(path.stem for path in Path("stages").glob("*.py")))
def test_a_stage_that_computes_on_a_device_names_what_to_lower(name: str) -> None:
    """A stage asks for its device itself, or opens its inputs with one."""
    module = import_module(f"stages.{name}")
    stage = getattr(module, "STAGE", None)
    asks = "resolve_device" in Path(f"stages/{name}.py").read_text()
    if stage is None:
        return
    assert stage.memory_keys or not asks or name == "plan"
    reached = {"runtime", *stage.sections}  # `runtime` reaches every stage and is no section of any
    assert {key.split(".")[0] for key in stage.memory_keys} <= reached
