"""A device that stands in for a CUDA card: its tensors say `cuda:0`, lie in the CPU's memory, and
refuse to meet tensors of the CPU, as those of a card do. It shows where a tensor was left behind,
and takes the ways of the code that only a card takes. Copies to the host that nobody need wait for
arrive when an event after them is waited for. Of time, memory and real kernels it shows
nothing, and no gradient is followed while it is there: PyTorch's own part for that asks for CUDA.
"""
# pyright: reportIncompatibleMethodOverride=false

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.utils import _pytree as tree
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.crosscoder import gathered

CARD = torch.device("cuda", 0)
TRUE_TENSOR = torch.tensor
UNREAD = float("nan")
UNDER_WAY: list[tuple[Tensor, Tensor]] = []
"""Copies to the host that have not arrived: where they go, which holds UNREAD, and what arrives."""
INDEXED = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}


class OnCard(Tensor):
    """A tensor on the card; `inner` holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnCard":
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CARD,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return computed(func, args, kwargs or {})

    # These ask a part of PyTorch for CUDA that a build for CPUs does not have.
    def __getitem__(self, index: Any) -> "OnCard":
        return OnCard(self.inner[inner_of(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        # Where nothing but numbers and slices says where, CUDA copies from anywhere.
        chosen = [i for i in tree.tree_leaves(index) if isinstance(i, Tensor)]
        if chosen and isinstance(value, Tensor):
            refuse_others("assignment", (), [value])
        self.inner[inner_of(index)] = inner_of(value)
        increment_version(self)

    def copy_(self, other: Tensor, non_blocking: bool = False) -> "OnCard":
        self.inner.copy_(inner_of(other))
        increment_version(self)
        return self

    def __invert__(self) -> "OnCard":
        return OnCard(~self.inner)

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        found = OnCard(self.inner.nonzero())
        return found.unbind(1) if as_tuple else found

    def new_tensor(self, data: Any, **given: Any) -> Any:
        chosen: dict[str, Any] = {"dtype": self.dtype, **given}
        return torch.tensor(data, **chosen).to(CARD)

    def contiguous(self) -> Tensor:
        return self if self.is_contiguous() else self.clone(memory_format=torch.contiguous_format)

    def __float__(self) -> float:
        return float(self.inner)

    def __int__(self) -> int:
        return int(self.inner)

    def __bool__(self) -> bool:
        return bool(self.inner)

    def item(self) -> Any:
        return self.inner.item()

    def tolist(self) -> Any:
        return self.inner.tolist()

    def record_stream(self, stream: Any) -> None:
        pass


class Mode(TorchDispatchMode):
    """Sends what makes new tensors here too."""

    def __init__(self) -> None:
        super().__init__()
        # PyTorch starts no CUDA under a mode of this key, which it has for devices that are faked.
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return computed(func, args, kwargs or {})


def mm_in_fp32(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    assert (left.dtype, dtype) == (torch.bfloat16, torch.float32)
    return left.float() @ right.float()


def addmm_in_fp32(
    own: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype, *, beta: float = 1, out: Tensor
) -> Tensor:
    product = mm_in_fp32(left, right, dtype)
    return out.copy_(product + beta * own if beta else product)


CARDS_ALONE = {
    torch.ops.aten.mm.dtype: mm_in_fp32,
    torch.ops.aten.addmm.dtype_out: addmm_in_fp32,
}
"""Operations that PyTorch has for cards alone."""


def computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an operation gives, its tensors where a card's would be. RuntimeError where the
    operands lie on different devices."""
    name = func._schema.name
    tensors = [leaf for leaf in tree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    wanted = kwargs.get("device")
    if name == "aten::copy_":
        on_card = isinstance(args[0], OnCard)
    elif wanted is not None:
        on_card = torch.device(wanted).type == "cuda"
    else:
        on_card = any(isinstance(tensor, OnCard) for tensor in tensors)
    if on_card and kwargs.get("generator") is not None:
        raise RuntimeError(f"{name}: a generator of the CPU draws for {CARD}")
    if on_card and wanted is None and name != "aten::copy_":
        refuse_others(name, args, tensors)
    if name == "aten::copy_" and not on_card and isinstance(args[1], OnCard) and not_waited(args):
        UNDER_WAY.append((args[0].fill_(UNREAD), args[1].inner.clone()))
        return args[0]
    plain = {key: value for key, value in kwargs.items() if key not in ("device", "pin_memory")}
    if wanted is not None:
        plain["device"] = torch.device("cpu")
    wrapped = {id(tensor.inner): tensor for tensor in tensors if isinstance(tensor, OnCard)}
    inner_args, inner_kwargs = inner_of((args, plain))
    found = CARDS_ALONE.get(func, func)(*inner_args, **inner_kwargs)
    if not on_card:
        return found
    return tree.tree_map_only(
        Tensor, lambda t: wrapped[id(t)] if id(t) in wrapped else OnCard(t), found
    )


def not_waited(args: tuple[Any, ...]) -> bool:
    return len(args) > 2 and bool(args[2])


def inner_of(values: Any) -> Any:
    return tree.tree_map_only(OnCard, lambda tensor: tensor.inner, values)


def refuse_others(name: str, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    # A number in a tensor of the CPU, and positions there, are let through by CUDA as well.
    allowed = [id(i) for i in args[1]] if name in INDEXED else []
    for tensor in tensors:
        if not isinstance(tensor, OnCard) and tensor.dim() and id(tensor) not in allowed:
            raise RuntimeError(f"{name}: a tensor of the CPU {tuple(tensor.shape)} meets {CARD}")


class Stream:
    def __init__(self, device: Any = None) -> None: ...

    def wait_stream(self, other: Any) -> None: ...

    def wait_event(self, event: Any) -> None: ...


class Event:
    _before: Sequence[tuple[Tensor, Tensor]] = ()

    def record(self, stream: Any = None) -> None:
        self._before = UNDER_WAY[:]

    def synchronize(self) -> None:
        for target, values in self._before:
            target.copy_(values)
        UNDER_WAY[:] = [copy for copy in UNDER_WAY if all(copy is not c for c in self._before)]

    def query(self) -> bool:
        return True


def tensor(data: Any, *, device: Any = None, **given: Any) -> Tensor:
    """`torch.tensor`, which else asks for CUDA before any mode is asked."""
    if device is None or torch.device(device).type != "cuda":
        return TRUE_TENSOR(data, device=device, **given)
    return TRUE_TENSOR(data, device="cpu", **given).to(device)


@contextmanager
def card() -> Iterator[torch.device]:
    """The device, while this is open."""
    mocks = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "Stream": Stream,
        "Event": Event,
        "current_stream": lambda device=None: Stream(),
        "stream": lambda stream: nullcontext(),
        "synchronize": lambda device=None: None,
        "get_device_name": lambda device=None: "stand-in",
    }
    swaps = torch.__future__.get_overwrite_module_params_on_conversion()
    _device_constructors()  # kept from the first call on, with the true `torch.tensor` among them
    with pytest.MonkeyPatch.context() as patch:
        for name, mock in mocks.items():
            patch.setattr(torch.cuda, name, mock)
        patch.setattr(Tensor, "pin_memory", Tensor.clone)
        patch.setattr(gathered, "has_triton", lambda: False)  # it reads a card's own memory
        patch.setattr(torch, "tensor", tensor)
        # What is made in inference mode cannot be wrapped; without gradients the two are one.
        patch.setattr(torch.inference_mode, "__enter__", lambda mode: None)
        patch.setattr(torch.inference_mode, "__exit__", lambda mode, *error: None)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with Mode(), torch.no_grad():
                yield CARD
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(swaps)
