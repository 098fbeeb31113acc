"""What this machine can do: measured in about two seconds."""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import existing_parent

if TYPE_CHECKING:
    import torch

MATRIX_SIZE = 512
PROBE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Machine:
    """Rates and sizes of the machine that the plan is for.

    device_bytes_per_second: what passes a card's memory, read and written; None for a CPU
    """

    device: str
    device_name: str
    fp32_flops_per_second: float
    bf16_flops_per_second: float
    disk_bytes_per_second: float
    free_disk_bytes: int
    memory_bytes: int
    device_memory_bytes: int
    device_bytes_per_second: float | None

    def flops_per_second(self, dtype: str) -> float:
        if dtype == "tf32":  # half of bfloat16 in the data sheets of NVIDIA's cards
            return max(self.bf16_flops_per_second / 2, self.fp32_flops_per_second)
        bf16 = dtype in ("bfloat16", "bf16")
        return self.bf16_flops_per_second if bf16 else self.fp32_flops_per_second


# Measured on one such card with 8,192 x 8,192 products on random data; copies at 4.3 TB/s.
H200 = Machine(
    device="cuda",
    device_name="one H200-class GPU",
    fp32_flops_per_second=50e12,
    bf16_flops_per_second=790e12,
    disk_bytes_per_second=2e9,
    free_disk_bytes=8 * 10**12,
    memory_bytes=128 * 2**30,
    device_memory_bytes=139 * 2**30,
    device_bytes_per_second=4.3e12,
)


def measure_machine(device: str, n_threads: int, data: Path) -> Machine:
    """Measure the matrix rate of `device` and the write rate of the disk under `data`."""
    import psutil
    import torch

    torch.set_num_threads(n_threads)
    on_gpu = device == "cuda"
    memory = psutil.virtual_memory().total
    properties = torch.cuda.get_device_properties(0) if on_gpu else None
    return Machine(
        device=device,
        device_name=properties.name if properties else f"CPU, {n_threads} threads",
        fp32_flops_per_second=matrix_rate(torch.device(device), torch.float32),
        bf16_flops_per_second=matrix_rate(torch.device(device), torch.bfloat16),
        disk_bytes_per_second=write_rate(existing_parent(data)),
        free_disk_bytes=shutil.disk_usage(existing_parent(data)).free,
        memory_bytes=memory,
        device_memory_bytes=properties.total_memory if properties else memory,
        device_bytes_per_second=copy_rate(torch.device(device)) if on_gpu else None,
    )


def matrix_rate(device: "torch.device", dtype: "torch.dtype", seconds: float = 0.4) -> float:
    """Floating-point operations per second of a square matrix product on random data."""
    import torch

    # Small products on a card would measure the launches and the waits between them.
    on_gpu = device.type == "cuda"
    size, at_once = (8192, 8) if on_gpu else (MATRIX_SIZE, 1)
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    torch.mm(left, right)
    wait()
    began, products = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(at_once):
            torch.mm(left, right)
        wait()
        products += at_once
    return products * 2 * size**3 / (time.perf_counter() - began)


def copy_rate(device: "torch.device", seconds: float = 0.2) -> float:
    """Bytes per second that pass a card's memory, read and written, while it copies."""
    import torch

    source = torch.empty(PROBE_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    began, copies = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(32):
            target.copy_(source)
        torch.cuda.synchronize()
        copies += 32
    return copies * 2 * PROBE_BYTES / (time.perf_counter() - began)


def write_rate(folder: Path) -> float:
    """Bytes per second of a sequential write with fsync."""
    block = os.urandom(2**20) * 16
    size = min(PROBE_BYTES, shutil.disk_usage(folder).free // 4)
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(max(size // len(block), 1)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return max(size, len(block)) / (time.perf_counter() - began)
