"""What would make the host wait for the device, if the tensors lay on one; counted on the CPU."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

READS = {
    "_local_scalar_dense": 1,
    "nonzero": 1,
    "masked_select": 1,
    "_unique2": 1,
    "unique_consecutive": 1,
    "equal": 1,
    "bincount": 2,  # the smallest and the largest value
}
"""Operations whose result, or its size, the host needs before it can go on, and how often."""

INDEXED = ("index", "index_put_", "index_put", "_index_put_impl_")


class Waits(TorchDispatchMode):
    """Counts by operation, while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.split("::")[1]
        self.counts[name] += READS.get(name, 0)
        if name in INDEXED:  # a mask is turned into positions first
            masks = [i for i in args[1] if isinstance(i, Tensor) and i.dtype == torch.bool]
            self.counts["mask as index"] += len(masks)
        return func(*args, **(kwargs or {}))

    @property
    def found(self) -> dict[str, int]:
        return {name: n for name, n in self.counts.items() if n}


@contextmanager
def waits() -> Iterator[Waits]:
    """Counts the waits of what runs inside; `Tensor.tolist` reads without an operation."""
    mode, true_tolist = Waits(), Tensor.tolist

    def tolist(tensor: Tensor) -> Any:
        mode.counts["tolist"] += 1
        return true_tolist(tensor)

    Tensor.tolist = tolist  # pyright: ignore[reportAttributeAccessIssue]
    try:
        with mode:
            yield mode
    finally:
        Tensor.tolist = true_tolist
