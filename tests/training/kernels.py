"""Adam's kernel where there is no card: in plain PyTorch, or Triton's, interpreted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor
from torch.nn import Parameter
from torch.utils import _pytree as tree

import pipeline.training
from pipeline.crosscoder import gathered
from tests.interpreted import interpreted, needs_triton
from tests.standin import OnCard

Update = Callable[..., None]
NAME = "pipeline.training.adam_kernel"
FORMS = ["pytorch", pytest.param("triton", marks=needs_triton)]


@contextmanager
def kernel(form: str) -> Iterator[Update]:
    """`adam_kernel.update` in one of the FORMS."""
    if form == "pytorch":
        yield update
        return
    with interpreted(NAME) as module:
        yield module.update


def update(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    copy: Tensor | None,
    *,
    divisor: Tensor | None,
    unbias: Tensor,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    scaled = gradient if divisor is None else gradient / divisor
    mean.lerp_(scaled, 1 - betas[0])
    square.lerp_(scaled.square(), 1 - betas[1])
    width = (square / unbias[1]).sqrt_().add_(epsilon)
    parameter.sub_(learning_rate * (mean / unbias[0]) / width)
    if copy is not None:
        copy.copy_(parameter)


def move_by(patch: pytest.MonkeyPatch, update: Update, device_type: str = "cpu") -> None:
    """Have the kernel move the parameters on a kind of device, and nothing else be done by any."""

    def chosen(tensor: Tensor) -> bool:
        return isinstance(tensor, Parameter) and tensor.device.type == device_type

    def at_memory(*args: Any, **kwargs: Any) -> None:
        update(*memory_of(args), **memory_of(kwargs))

    patch.setattr(gathered, "by_kernels", chosen)
    module = SimpleNamespace(update=at_memory)
    patch.setattr(pipeline.training, "adam_kernel", module, raising=False)


def memory_of(values: Any) -> Any:
    """Tensors with the same memory. PyTorch counts no change of what it belongs to, as it counts
    none of a kernel's."""
    return tree.tree_map_only(
        Tensor, lambda t: t.inner if isinstance(t, OnCard) else t.data, values
    )
