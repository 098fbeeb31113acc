"""What the estimates share: the cost of a stage, sizes of rows, rates that stages reach."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.labels import MODELS
from pipeline.planning.dictionary import n_latents_of
from pipeline.planning.machine import Machine
from pipeline.planning.model_size import ModelSize

BYTES = {"bfloat16": 2, "float32": 4}
ROW_TAG_BYTES = 4 * 4 + 2  # token id, position, document, sequence; source, class
CODED_SHARE = {"none": 1.0, "zstd": 0.79, "blosc_lz4": 0.83}
"""What a codec leaves of real activations (docs/performance.md, "Codecs")."""
# Share of the plain matrix rate that whole transformer passes reach.
MODEL_EFFICIENCY = {"cpu": 0.5, "cuda": 0.4}
STAGE_START_SECONDS = 6.0
INTERPRETER_BYTES = 600 * 10**6
LATENT_ARRAYS = 3
MAX_LATENT_BYTES = LATENT_ARRAYS * 2**28
"""What encoding takes at once where it goes on in pieces (`analysis.splicing.MAX_ELEMENTS`)."""
STREAMS = 32
"""Arrays as wide as the residual stream in a pass of a block, its MLP counted as so many."""


@dataclass(frozen=True)
class StageCost:
    """disk: bytes left behind; scratch: bytes used meanwhile; memory: peak bytes; rough seconds."""

    stage: str
    disk_bytes: float
    scratch_bytes: float
    memory_bytes: float
    seconds: float


def row_bytes(d_model: int) -> int:
    """One activation row with its tags, uncompressed: [2, d_model] bfloat16."""
    return len(MODELS) * d_model * 2 + ROW_TAG_BYTES


def stored_row_bytes(config: Config, d_model: int) -> float:
    """Bytes on disk of such a row in a store."""
    return row_bytes(d_model) * CODED_SHARE[config.dump.codec]


def dumped_row_bytes(config: Config, d_model: int) -> float:
    """Bytes of a training row as the dump leaves it; rows dealt to buckets are not coded."""
    if config.dump.scatter_seed is not None:
        return row_bytes(d_model)
    return stored_row_bytes(config, d_model)


def n_train_rows(config: Config) -> int:
    """Rows of the training store, a BOS row per sequence left out."""
    mix = config.mix
    return mix.n_train_sequences * (mix.sequence_length_tokens - 1)


def n_heldout_rows(config: Config) -> int:
    """Rows of the held-out store."""
    mix = config.mix
    return mix.n_heldout_sequences * (mix.sequence_length_tokens - 1)


def model_rate(config: Config, machine: Machine) -> float:
    """Floating-point operations per second of whole passes of the models as they are read."""
    return machine.flops_per_second(config.hook_point.dtype) * MODEL_EFFICIENCY[machine.device]


def spliced_bytes(config: Config, sizes: Sequence[ModelSize], batch_sequences: int) -> float:
    """Peak memory of models that go on from patched streams: both whole models, the crosscoder and
    the latents of a batch, some streams of it, and what logits may take."""
    rows, d_model = batch_sequences * config.mix.sequence_length_tokens, sizes[0].d_model
    n_latents = n_latents_of(config.crosscoder)
    weights = sum(BYTES[config.hook_point.dtype] * size.n_parameters for size in sizes)
    weights += 4.0 * 2 * len(MODELS) * d_model * n_latents
    latents = min(LATENT_ARRAYS * 4.0 * rows * n_latents, MAX_LATENT_BYTES)
    streams = STREAMS * 4.0 * rows * d_model
    return INTERPRETER_BYTES + weights + latents + streams + config.runtime.logits_bytes


def lower_bytes(config: Config, sizes: Sequence[ModelSize]) -> float:
    """Weights of both models up to the hook point, in memory."""
    layer, number = config.hook_point.layer, BYTES[config.hook_point.dtype]
    return sum(number * (layer * s.n_block_parameters + s.n_embedding_parameters) for s in sizes)


def lower_seconds(
    config: Config, machine: Machine, sizes: Sequence[ModelSize], rows: float, written: float
) -> float:
    """Passes of both models over `rows` tokens to the hook point, while `written` bytes are."""
    layer = config.hook_point.layer
    compute = sum(s.flops_per_token(layer) for s in sizes) * rows / model_rate(config, machine)
    return max(compute, written / machine.disk_bytes_per_second)
