"""Triton kernels in Triton's interpreter on the CPU, which rounds to bfloat16 as a card does."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.crosscoder import gathered

needs_triton = pytest.mark.skipif(
    not gathered.has_triton(), reason="Triton is optional: pip install triton==3.7.1 (Linux)"
)


@contextmanager
def interpreted(name: str) -> Iterator[ModuleType]:
    """The module of that name, imported anew: Triton asks for its interpreter when a kernel is
    declared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        from triton.runtime import interpreter  # pyright: ignore[reportMissingImports]

        patch.setattr(interpreter, "_convert_float", nearest(interpreter._convert_float))
        yield fresh(patch, name)


def fresh(patch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """The module of that name, imported anew until the patch is undone."""
    package, _, own = name.rpartition(".")
    patch.setitem(sys.modules, name, ModuleType(name))
    patch.setattr(importlib.import_module(package), own, None, raising=False)
    del sys.modules[name]
    return importlib.import_module(name)


def nearest(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Triton 3.7.1 compiles to the rounding of PyTorch, but its interpreter cuts bits off."""

    def converted(values: Any, given: Any, wanted: Any, mode: Any) -> Any:
        if (given.name, wanted.name) != ("fp32", "bf16"):
            return convert(values, given, wanted, mode)
        rounded = torch.from_numpy(np.array(values, dtype=np.float32)).bfloat16()
        return rounded.view(torch.uint16).numpy()

    return converted
