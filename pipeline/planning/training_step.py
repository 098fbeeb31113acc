"""How long a training takes: by measured shares on a CPU, by arithmetic on a card.

Letters: B rows, L latents, P = models * width of the rows.
"""

from dataclasses import dataclass

from pipeline.planning.machine import Machine

TRAIN_EFFICIENCY = {"cpu": 0.8, "cuda": 0.6}
"""Share of the plain matrix rate that whole training steps on a CPU reach, and passes over rows."""
DENSE_PRODUCTS = 5.0
"""Matrix products of rows by latents in a step: encode, decode, three gradients."""
BATCH_TOPK_PRODUCTS = {"fp32": 1.5, "tf32": 2.0, "bf16": 2.0}
"""What a BatchTopK step on a CPU takes in units of such a product: one encodes every latent, the
rest is over active pairs. Five times the BatchTopK step over the L1 step of docs/performance.md
("Training step") at 4,096 latents, rounded up: 73.5 / 253.1 in fp32, 48.7 / 124.3 in bf16. At
16,384 latents the ratios are lower (8.3 / 34.4 and 4.2 / 15.8)."""

# On a card, none of it measured: bytes that pass its memory, per weight and per (row, latent).
ENTRY_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
ADAM_BYTES = 8 * 4
"""Adam reads and writes weight, gradient and two moments."""
OTHER_WEIGHT_BYTES = {"fp32": 8, "tf32": 8, "bf16": 8 + 12}
"""The gradient's norm and the decoder's; in bf16 the rounded weights, and gradients to fp32."""
ENTRY_PASSES = 8
"""Passes over [B, L]: the activation, its gradient, sums."""
GATHER_SHARE = 0.4
"""Of the memory's rate, what gathering rows of the weights reaches."""
LAUNCH_SECONDS = 0.5e-3
"""A hundred kernels of 5 microseconds, while the card has nothing else to do."""


@dataclass(frozen=True)
class StepSize:
    """One step. k: latents kept per row by BatchTopK, None for a variant that keeps all."""

    batch_rows: int
    n_latents: int
    width: int
    precision: str
    k: int | None


def step_seconds(size: StepSize, machine: Machine) -> float:
    """Seconds of one step from rows in memory. DSF and JumpReLU are priced as L1, all as if dense
    throughout, though their steps become cheaper on a CPU as latents become sparse."""
    flops = 2.0 * size.batch_rows * size.n_latents * size.width
    product = flops / machine.flops_per_second(size.precision)
    if machine.device_bytes_per_second is None:
        n = DENSE_PRODUCTS if size.k is None else BATCH_TOPK_PRODUCTS[size.precision]
        return n * product / TRAIN_EFFICIENCY["cpu"]
    return _products_on_card(size, machine.device_bytes_per_second, product) + _passes_on_card(
        size, machine.device_bytes_per_second
    )


def _products_on_card(size: StepSize, bytes_per_second: float, product: float) -> float:
    if size.k is None:
        return DENSE_PRODUCTS * product
    gathered = float(size.batch_rows) * size.k * size.width * ENTRY_BYTES[size.precision]
    at_pairs = min(product, gathered / (GATHER_SHARE * bytes_per_second))
    return product + (DENSE_PRODUCTS - 1) * at_pairs


def _passes_on_card(size: StepSize, bytes_per_second: float) -> float:
    n_weights = 2.0 * size.n_latents * size.width
    weights = n_weights * (ADAM_BYTES + OTHER_WEIGHT_BYTES[size.precision])
    n_entries = float(size.batch_rows) * size.n_latents
    entries = n_entries * ENTRY_PASSES * ENTRY_BYTES[size.precision]
    return (weights + entries) / bytes_per_second + LAUNCH_SECONDS


def training_seconds(size: StepSize, n_rows: int, stored_width: int, machine: Machine) -> float:
    """Seconds of steps over `n_rows` rows, or of reading them (`stored_width` bfloat16 numbers a
    row) where that is slower."""
    steps = n_rows / size.batch_rows * step_seconds(size, machine)
    return max(steps, 2.0 * n_rows * stored_width / machine.disk_bytes_per_second)
