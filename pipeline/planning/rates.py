"""What a unit of each kind of work takes on a device: by arithmetic here, measured in measure.py.

Letters: B rows of a step, L latents, P = M * D.
"""

from dataclasses import dataclass

from pipeline.config import Config
from pipeline.config.crosscoder import BatchTopKConfig, PretrainedConfig
from pipeline.labels import MODELS
from pipeline.planning.machine import Machine
from pipeline.planning.model_size import trained_models

MODEL_SHARE = {"cpu": 0.5, "cuda": 0.4}
"""Of the plain matrix rate, what whole passes of a language model are taken to reach."""
PASS_SHARE = {"cpu": 0.8, "cuda": 0.6}
"""The same for passes of rows through a dictionary, and for training steps on a CPU."""
START_SECONDS, TEXT_TOKENS_PER_SECOND = 6.0, 300_000
DENSE_PRODUCTS = 5.0
"""Matrix products of rows by latents in a step: encode, decode, three gradients."""
BATCH_TOPK_PRODUCTS = {"fp32": 1.5, "tf32": 2.0, "bf16": 2.0}
"""What a BatchTopK step on a CPU takes in units of such a product: one encodes every latent, the
rest is over active pairs (docs/performance.md, "Training step", rounded up)."""

# On a card, none of it measured: bytes that pass its memory, per weight and per (row, latent).
ENTRY_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
WEIGHT_BYTES = {"fp32": 40, "tf32": 40, "bf16": 52}
"""Adam reads and writes weight, gradient and two moments; norms and roundings pass them again."""
ENTRY_PASSES = 8
"""Passes over [B, L]: the activation, its gradient, sums."""
GATHER_SHARE = 0.4
"""Of the memory's rate, what gathering rows of the weights reaches."""
LAUNCH_SECONDS = 0.5e-3
"""A hundred kernels of 5 microseconds, while the card has nothing else to do."""


@dataclass(frozen=True)
class Rates:
    """Seconds per unit of work.

    start: a process and its libraries; byte: to or from the disk; text: a token, read and packed
    forward, head, fit, write: a floating-point operation of a language model: in blocks, in losses
        over the vocabulary, in training it, in writing text token by token
    step, diff_step: a row in a training step of the crosscoder, and of the diff-SAE
    encode: an operation of encoding rows, products of rows with dictionaries and directions alike
    """

    start: float
    byte: float
    text: float
    forward: float
    head: float
    fit: float
    write: float
    step: float
    diff_step: float
    encode: float


@dataclass(frozen=True)
class StepSize:
    """One step. k: latents kept per row by BatchTopK, None for a variant that keeps all."""

    batch_rows: int
    n_latents: int
    width: int
    precision: str
    k: int | None


def arithmetic(config: Config, d_model: int, n_latents: int, machine: Machine) -> Rates:
    """Rates from the plain matrix rate, memory and disk of a machine, by shares of them."""
    width, train = len(MODELS) * d_model, config.train

    def row_seconds(crosscoder: object, n_latents: int, width: int) -> float:
        k = crosscoder.k if isinstance(crosscoder, BatchTopKConfig) else None
        size = StepSize(train.batch_rows, n_latents, width, train.precision, k)
        return step_seconds(size, machine) / train.batch_rows

    trained, diff_sae = config.crosscoder, config.baselines.diff_sae
    model = 1 / (machine.flops_per_second(config.hook_point.dtype) * MODEL_SHARE[machine.device])
    precision = next((spec.precision for _, spec in trained_models(config)), "fp32")
    fitted = 1 / (machine.flops_per_second(precision) * MODEL_SHARE[machine.device])
    return Rates(
        start=START_SECONDS,
        byte=1 / machine.disk_bytes_per_second,
        text=1 / TEXT_TOKENS_PER_SECOND,
        forward=model,
        head=model,
        fit=fitted,
        write=model,
        step=0.0
        if isinstance(trained, PretrainedConfig)
        else row_seconds(trained, n_latents, width),
        diff_step=row_seconds(diff_sae, diff_sae.n_latents, d_model),
        encode=1 / (machine.fp32_flops_per_second * PASS_SHARE[machine.device]),
    )


def step_seconds(size: StepSize, machine: Machine) -> float:
    """Seconds of one step from rows in memory. Variants without k are priced as if every latent
    were active."""
    flops = 2.0 * size.batch_rows * size.n_latents * size.width
    product, rate = (
        flops / machine.flops_per_second(size.precision),
        machine.device_bytes_per_second,
    )
    if rate is None:
        n = DENSE_PRODUCTS if size.k is None else BATCH_TOPK_PRODUCTS[size.precision]
        return n * product / PASS_SHARE["cpu"]
    at_pairs, entry = product, ENTRY_BYTES[size.precision]
    if size.k is not None:
        gathered = float(size.batch_rows) * size.k * size.width * entry
        at_pairs = min(product, gathered / (GATHER_SHARE * rate))
    passed = 2.0 * size.n_latents * size.width * WEIGHT_BYTES[size.precision]
    passed += float(size.batch_rows) * size.n_latents * ENTRY_PASSES * entry
    return product + (DENSE_PRODUCTS - 1) * at_pairs + passed / rate + LAUNCH_SECONDS
