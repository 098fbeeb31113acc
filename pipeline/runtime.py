"""What belongs to the machine: threads, device, memory, and named random streams."""

import ctypes
import hashlib
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.distributed import local_rank, share_of_threads
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import torch

CARD_FILE = Path("/dev/nvidia0")
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_MAX = -1, -4  # of glibc's malloc.h


def stream_seed(seed: int, *names: str) -> int:
    """A 63-bit seed for the random stream called `names`, independent of every other stream."""
    key = "/".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1


def numpy_generator(seed: int, *names: str) -> "np.random.Generator":
    """NumPy generator of the named stream."""
    import numpy as np

    return np.random.default_rng(stream_seed(seed, *names))


def generator(seed: int, *names: str) -> "torch.Generator":
    """CPU torch generator of the named stream."""
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, *names))


def resolve_device(name: str) -> "torch.device":
    """The device called `name`; `auto` is a CUDA device, else the CPU. Of several CUDA devices each
    process of a job has its own."""
    import torch

    has_gpu = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not has_gpu):
        return torch.device("cpu")
    if not has_gpu:
        raise ConfigError(
            f"runtime.device is {name!r}, but {why_no_card()}: "
            "mend that, or set runtime.device=auto or runtime.device=cpu"
        )
    return torch.device("cuda", local_rank())


def describe_device(name: str) -> str:
    """One line on the device called `name`: which it is, and, where a card lies idle, why."""
    import torch

    device = resolve_device(name)
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        memory = f"{card.total_memory / 2**30:.0f} GiB"
        return f"computing on {device}: {card.name}, {memory}, CUDA {torch.version.cuda}"
    idle = name == "auto" and CARD_FILE.exists()
    return "computing on the CPU" + (f"; warning: {why_no_card()}" if idle else "")


def why_no_card() -> str:
    """Why PyTorch finds no CUDA device."""
    import torch

    if torch.version.cuda is None:
        return "this PyTorch is built for CPUs alone"
    if not CARD_FILE.exists():
        return "this machine has no CUDA device"
    return (
        f"PyTorch, built for CUDA {torch.version.cuda}, cannot use the card of this machine: its "
        "driver may be older than that"
    )


def set_threads(n_threads: int) -> None:
    """Use `n_threads` CPU threads in torch, reproducible kernels, and memory that stays mapped.
    Processes of one job on one machine share the threads."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(share_of_threads(n_threads))
    # As use_deterministic_algorithms(True, warn_only=True), which imports the compiler (0.9 s).
    torch.set_deterministic_debug_mode("warn")
    # Products of bfloat16 that are cut into parts add these up in float32.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    # Filling every new tensor with NaN guards against reads of unset memory and costs a pass each.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 (untyped)
    # Denormal optimiser moments make fused Adam ten times slower on a CPU.
    torch.set_flush_denormal(True)


def keep_freed_memory() -> None:
    """Let the C library reuse large freed blocks instead of unmapping them (glibc only).

    Otherwise each large tensor costs a page fault per 4 KB: 9.1 instead of 8.0 CPU seconds for a
    tuning step of a 135M-parameter model on 1,024 tokens.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(MALLOPT_MMAP_MAX, 0)
        libc.mallopt(MALLOPT_TRIM_THRESHOLD, 2**31 - 1)


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes() -> int | None:
    """Most memory that this process has had on its CUDA device; None where it uses none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated()


def resident_memory_bytes() -> int:
    """Resident size of this process now, in bytes."""
    import psutil

    return psutil.Process().memory_info().rss
