"""How fast a card is at what the pipeline does, and how much of it that reaches.

Times are medians between waits for the card. A step's share is the time of its five plain products
over the step's.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.dump import SHAPES, compare, random_pair, write_tokens
from benchmarks.gpu_check.checks import Finding
from benchmarks.gpu_check.steps import KINDS, PRECISIONS, has_kernels, without_kernels
from benchmarks.train_step import MemoryRows, Size, make_training, matrix_products, random_rows
from pipeline.crosscoder.entries import Precision
from pipeline.crosscoder.products import tensor_cores
from pipeline.store import StoreReader

SIZES = {
    "16,384 latents": (Size(4096, 2304, 16384, k=100), KINDS),
    "73,728 latents": (Size(2048, 2304, 73728, k=100), ("l1", "batch_topk")),
}
ROUNDS = 7
BATCH_BYTES = 4096 * 2 * 2304 * 2


def median_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Of one call, the card's work included, after one that is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def steps(device: torch.device) -> Iterator[Finding]:
    """Steps of the published sizes in every precision: milliseconds, shares, memory."""
    for size_name, (size, kinds) in SIZES.items():
        for precision in PRECISIONS:
            products = products_seconds(size, precision, device)
            for kind in kinds:
                yield step(f"step, {size_name}, {kind}, {precision}", size, kind, products)(
                    precision, device
                )


def step(
    name: str, size: Size, kind: str, products: float
) -> Callable[[Precision, torch.device], Finding]:
    def measured(precision: Precision, device: torch.device) -> Finding:
        rows = MemoryRows(random_rows(size.batch_rows, size.d_model))
        with TemporaryDirectory() as folder:
            training = make_training(
                size, kind, precision, rows, Path(folder), device, n_rows=10**9
            )
            run = training.start()
        batch = next(run.stream.batches())
        batch = replace(batch, x_raw=batch.x_raw.to(device))

        def one() -> None:
            run.step = 1  # a step that is not logged
            run.train_on(batch)

        one()  # the first BatchTopK step has no guess, and takes more memory
        torch.cuda.reset_peak_memory_stats(device)
        seconds = median_seconds(one)
        peak = torch.cuda.max_memory_allocated(device)
        return Finding(
            name,
            None,
            {
                "milliseconds": 1e3 * seconds,
                "rows_per_second": size.batch_rows / seconds,
                "five_products_milliseconds": 1e3 * products,
                "share_of_products": products / seconds,
                "peak_gb": peak / 1e9,
            },
        )

    return measured


def products_seconds(size: Size, precision: Precision, device: torch.device) -> float:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with tensor_cores(precision):
        return median_seconds(matrix_products(size, dtype, device))


def updates(device: torch.device) -> Iterator[Finding]:
    """Milliseconds of an update of the published sizes, by PyTorch and by Triton's kernel, which
    writes the rounded copies as well."""
    for size_name, (size, _) in SIZES.items():
        with TemporaryDirectory() as folder:
            rows = MemoryRows(random_rows(size.batch_rows, size.d_model))
            run = make_training(size, "l1", "bf16", rows, Path(folder), device).start()
        for parameter in run.variant.parameters():
            parameter.grad = torch.zeros_like(parameter, requires_grad=False)
        norm = run.optimiser.gradient_norm()
        work = partial(run.optimiser.update, learning_rate=1e-3, gradient_norm=norm)
        with without_kernels():
            milliseconds = {"pytorch": 1e3 * median_seconds(work)}
        if has_kernels(device):
            milliseconds["kernel"] = 1e3 * median_seconds(work)
        yield Finding(f"update, {size_name}", None, milliseconds)


def uploads(device: torch.device) -> Iterator[Finding]:
    """Copies of a batch to the card, out of pageable and out of page-locked memory."""
    for name, is_locked in (("pageable", False), ("page-locked", True)):
        rows = torch.empty(BATCH_BYTES, dtype=torch.uint8, pin_memory=is_locked)
        seconds = median_seconds(lambda rows=rows: rows.to(device, non_blocking=True))
        rate = {"gb_per_second": BATCH_BYTES / seconds / 1e9}
        yield Finding(f"upload from {name} memory", None, rate)


def dumps(device: torch.device) -> Iterator[Finding]:
    """The dump of a Gemma-2 pair beside its bare forward passes."""
    shape = replace(SHAPES["gemma"], n_sequences=64)
    with TemporaryDirectory() as folder:
        write_tokens(Path(folder) / "tokens.zarr", shape)
        with StoreReader.open(Path(folder) / "tokens.zarr") as tokens:
            found = compare(random_pair(shape), tokens, shape, Path(folder), repeats=3)
    names = ("dump_over_forward", "dump_rows_per_second", "forward_rows_per_second")
    memory = {"peak_gb": torch.cuda.max_memory_allocated(device) / 1e9}
    yield Finding("dump, Gemma-2 shape", None, {name: found[name] for name in names} | memory)
