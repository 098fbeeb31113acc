"""Training steps on a device: their gradients, updates and weights against the CPU's, and equal
bits.

Letters: B rows, P = M * D.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.gpu_check.checks import Finding, left_out, within
from benchmarks.train_step import CPU, MemoryRows, Size, make_training, random_rows
from pipeline.crosscoder import gathered
from pipeline.crosscoder.entries import Precision
from pipeline.crosscoder.products import tensor_cores
from pipeline.crosscoder.variant import Moment
from pipeline.training.loop import Run
from pipeline.training.stream import Batch, uploaded
from pipeline.training.training import Training

KINDS = ("l1", "dsf", "jumprelu", "batch_topk")
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
SMALL = Size(batch_rows=256, d_model=64, n_latents=512, k=8)
N_STEPS = 20
GRADIENT_LIMIT = {"fp32": 1e-4, "tf32": 5e-2, "bf16": 5e-2}
"""Largest norm of a parameter's gradient minus the CPU's, over the norm of the CPU's. In tf32 the
CPU computes in fp32; in bf16 it rounds weights' gradients too, which a card leaves unrounded, and
adds in another order. On a CPU bf16 and fp32 differ by up to 0.10 here, and tf32 rounds to an
eighth of what bf16 rounds to."""
MOVEMENT_LIMIT = {"fp32": 2e-2, "tf32": 1e-1, "bf16": 2e-1}
"""The same of what N_STEPS steps add to the weights. Adam moves a weight by the sign of a gradient
that is nearly 0 as far as any other, so that this is much looser than the gradient's."""
N_UPDATES = 5
UPDATE_LIMIT = 1e-4
"""Largest difference of moments and movement after N_UPDATES updates by equal gradients, over that
of the CPU's. PyTorch's kernels take 1 - beta2 in float32 on a card and in float64 on a CPU."""
WAITS = {"l1": 1, "dsf": 1, "jumprelu": 1, "batch_topk": 3}
"""How often the host may wait for the device in a step that is not logged."""


def job(
    kind: str, precision: Precision, size: Size, device: torch.device, folder: Path
) -> Training:
    """A job of N_STEPS steps on random rows, whose latents soon count as dead. A CPU stands in for
    tf32 with fp32."""
    possible = "fp32" if precision == "tf32" and device.type == "cpu" else precision
    return make_training(
        size,
        kind,
        possible,
        MemoryRows(random_rows(4 * size.batch_rows, size.d_model)),
        folder,
        device,
        n_rows=N_STEPS * size.batch_rows,
        learning_rate=1e-3,
        dead_after_rows=2 * size.batch_rows,
        log_every_steps=10**6,
    )


def first_step(
    kind: str, precision: Precision, device: torch.device, size: Size
) -> dict[str, Tensor]:
    """Gradients and loss of the first step, on the CPU."""
    with TemporaryDirectory() as folder:
        run = job(kind, precision, size, device, Path(folder)).start()
        variant = run.variant
        x_BP = variant.crosscoder.normalise(next(run.stream.batches()).x_raw).flatten(1)
        with tensor_cores(precision):
            step = variant.step(x_BP, Moment(0, N_STEPS))
        parameters = zip(variant.parameter_names(), variant.parameters(), strict=True)
        gradients = {name: p.grad.cpu() for name, p in parameters if p.grad is not None}
        return gradients | {"loss": step.loss.total.cpu()}


def trained(
    kind: str,
    precision: Precision,
    device: torch.device,
    size: Size,
    folder: Path,
    n_steps: int = N_STEPS,
) -> dict[str, Tensor]:
    """Weights and all state after `n_steps` of the job in `folder`, which it goes on with where a
    checkpoint lies there, on the CPU; a job that stops short leaves one."""
    run = job(kind, precision, size, device, folder).start()
    left = islice(run.stream.batches(run.n_rows), n_steps - run.step)
    for batch in uploaded(left, device):
        run.train_on(batch)
    if n_steps < N_STEPS:
        run.save_checkpoint()
        run.wait_for_checkpoint()
    return state_of(run)


def state_of(run: Run) -> dict[str, Tensor]:
    state = {**run.variant.crosscoder.state_dict(), **run.variant.state()}
    return {name: t.detach().cpu().clone() for name, t in (state | run.optimiser.state()).items()}


def agree(device: torch.device, size: Size = SMALL) -> Iterator[Finding]:
    """Every variant in every precision: against the CPU, from run to run, and across a resume."""
    for kind in KINDS:
        for precision in PRECISIONS:
            yield gradients_agree(kind, precision, device, size)
            yield from training_agrees(kind, precision, device, size)


def gradients_agree(kind: str, precision: Precision, device: torch.device, size: Size) -> Finding:
    on_device, on_cpu = (first_step(kind, precision, place, size) for place in (device, CPU))
    worst = max(difference(on_device[name], g) for name, g in on_cpu.items())
    limit = GRADIENT_LIMIT[precision]
    name = f"gradient of a step, {kind}, {precision}"
    return within(name, {"difference": worst}, {"difference": limit})


def training_agrees(
    kind: str, precision: Precision, device: torch.device, size: Size
) -> Iterator[Finding]:
    def run(place: torch.device, n_steps: int = N_STEPS, folder: str = "") -> dict[str, Tensor]:
        with TemporaryDirectory() as own:
            return trained(kind, precision, place, size, Path(folder or own), n_steps)

    start, found, again, expected = run(CPU, 0), run(device), run(device), run(CPU)
    with TemporaryDirectory() as folder:
        run(device, N_STEPS // 2, folder)
        resumed = run(device, N_STEPS, folder)
    what = f"{N_STEPS} steps, {kind}, {precision}"
    moved = {"difference": moved_apart(found, expected, start)}
    yield within(what, moved, {"difference": MOVEMENT_LIMIT[precision]})
    yield same_bits(f"{what}, run again", found, again)
    yield same_bits(f"{what}, resumed in the middle", found, resumed)


def updates_agree(device: torch.device, size: Size = SMALL) -> Iterator[Finding]:
    """Adam by PyTorch and by Triton's kernel against the CPU's by PyTorch; the copies of weights
    that the kernel writes against what the weights round to."""
    start, expected = (state_of(updated(CPU, size, n)) for n in (0, N_UPDATES))
    for form in ("pytorch", "kernel"):
        if form == "kernel" and not has_kernels(device):
            yield left_out("updates, kernel", "no card, or no Triton that can run")
            return
        with without_kernels() if form == "pytorch" else nullcontext():
            run = updated(device, size, N_UPDATES)
        found = state_of(run)
        moments = [name for name in expected if name.startswith(("mean.", "square."))]
        figures = {
            "moments": max(difference(found[name], expected[name]) for name in moments),
            "movement": moved_apart(found, expected, start),
        }
        yield within(f"updates, {form}", figures, dict.fromkeys(figures, UPDATE_LIMIT))
        if form == "kernel":
            copies = run.optimiser.copies.values()
            n_wrong = sum(int((c.values != c.parameter.bfloat16()).sum()) for c in copies)
            yield within("copies of weights, kernel", {"n_wrong": n_wrong}, {"n_wrong": 0})


def updated(device: torch.device, size: Size, n_updates: int) -> Run:
    """A run in bf16 after updates by random gradients, which are clipped."""
    with TemporaryDirectory() as folder:
        run = job("l1", "bf16", size, device, Path(folder)).start()
    random = torch.Generator().manual_seed(0)
    for _ in range(n_updates):
        for parameter in run.variant.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random).to(device)
        norm = run.optimiser.gradient_norm()
        run.optimiser.update(learning_rate=1e-3, gradient_norm=norm)
    return run


def has_kernels(device: torch.device) -> bool:
    """Whether Triton's kernels are taken on the device."""
    return gathered.by_kernels(torch.empty(0, device=device))


@contextmanager
def without_kernels() -> Iterator[None]:
    """While this is open, PyTorch's own are."""
    chosen = gathered.by_kernels
    gathered.by_kernels = lambda tensor: False  # noqa: ARG005
    try:
        yield
    finally:
        gathered.by_kernels = chosen


def moved_apart(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], start: Mapping[str, Tensor]
) -> float:
    """How far weights have moved apart, over how far they have moved; the worst of the weights."""
    weights = [name for name in start if name.startswith(("W_", "b_"))]
    return max(
        difference(found[name] - start[name], expected[name] - start[name]) for name in weights
    )


def difference(found: Tensor, expected: Tensor) -> float:
    """||found - expected|| / ||expected||, 0 where both are 0."""
    apart = float((found.double() - expected.double()).norm())
    return apart / float(expected.double().norm()) if apart != 0.0 else 0.0


def same_bits(name: str, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Finding:
    other = [key for key in first if not torch.equal(first[key], second[key])]
    return Finding(name, not other, {"different": other[0] if other else "nothing"})


def waits(device: torch.device, size: Size = SMALL) -> Iterator[Finding]:
    """How often the host waits for a CUDA card in a step that is not logged, as the card's own
    runtime reports it."""
    for kind in KINDS:
        with TemporaryDirectory() as folder:
            run = job(kind, "fp32", size, device, Path(folder)).start()
            run.step = 1  # the first step is logged
            batches = uploaded(run.stream.batches(), device)
            for batch in islice(batches, N_STEPS // 2):
                run.train_on(batch)
            n_waits = counted_waits(run, next(batches))
            yield within(f"waits of a step, {kind}", {"n": n_waits}, {"n": WAITS[kind]})


def counted_waits(run: Run, batch: Batch) -> int:
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run.train_on(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in said)
