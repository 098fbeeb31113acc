"""Disk, memory and rough time of each stage, from the configuration and the machine's rates.

Stages that need seconds and megabytes whatever the experiment (compose, the two histograms,
recovery, report) have no line.
"""

from pipeline.config import Config
from pipeline.config.crosscoder import BatchTopKConfig
from pipeline.config.models import HubModel, TrainedModel, TunedModel
from pipeline.labels import MODELS
from pipeline.planning.analyses import analyses
from pipeline.planning.cost import (
    INTERPRETER_BYTES,
    MODEL_EFFICIENCY,
    STAGE_START_SECONDS,
    StageCost,
    dumped_row_bytes,
    lower_bytes,
    lower_seconds,
    model_rate,
    n_heldout_rows,
    n_train_rows,
    row_bytes,
    spliced_bytes,
    stored_row_bytes,
)
from pipeline.planning.dictionary import n_latents_of
from pipeline.planning.machine import Machine
from pipeline.planning.model_size import ModelSize, sizes_of
from pipeline.planning.rounds import with_rounds
from pipeline.planning.training_step import StepSize, training_seconds

TOKEN_BYTES = 4 + 4 + 1 + 1  # token id, document, source, class
TOKENISER_TOKENS_PER_SECOND = 300_000


def store_bytes(config: Config, d_model: int) -> float:
    """Both activation stores and the shuffled one, as DVC would hash them."""
    kept = (n_train_rows(config) + n_heldout_rows(config)) * stored_row_bytes(config, d_model)
    return kept + n_train_rows(config) * dumped_row_bytes(config, d_model)


def estimate(config: Config, machine: Machine) -> list[StageCost]:
    """The cost of every stage, in the order of the graph; empty where a model's size is unknown."""
    known = sizes_of(config)
    if known is None:
        return []
    make = _import if config.crosscoder.kind == "pretrained" else _train
    train = make(config, machine, known[0].d_model)
    costs = [
        _models(config, machine, known),
        _mix(config),
        _dump(config, machine, known),
        _shuffle(config, machine, known[0].d_model),
        train,
        _evaluate(config, machine, known),
        *analyses(config, machine, known, train),
    ]
    return with_rounds(config, machine, known, costs)


def _models(config: Config, machine: Machine, sizes: list[ModelSize]) -> StageCost:
    disk = memory = 0.0
    seconds = STAGE_START_SECONDS
    for name, size in zip(MODELS, sizes, strict=True):
        spec = getattr(config.models, name)
        if isinstance(spec, HubModel):
            disk += 2.0 * size.n_parameters
        if isinstance(spec, TrainedModel | TunedModel):
            tokens = spec.n_steps * spec.batch_sequences * spec.sequence_length_tokens
            flops = 3 * size.flops_per_token(size.n_layers, logits=True) * tokens
            rate = machine.flops_per_second(spec.precision) * MODEL_EFFICIENCY[machine.device]
            seconds += flops / rate
            disk += 4.0 * size.n_parameters
            logits = 3 * 4.0 * spec.micro_batch_sequences * spec.sequence_length_tokens
            memory = max(memory, 18.0 * size.n_parameters + logits * size.vocab_size)
    return StageCost("models", disk, 0.0, INTERPRETER_BYTES + memory, seconds)


def _mix(config: Config) -> StageCost:
    mix = config.mix
    if not config.has_models:
        return StageCost("mix", 0.0, 0.0, INTERPRETER_BYTES, STAGE_START_SECONDS)
    tokens = (mix.n_train_sequences + mix.n_heldout_sequences) * mix.sequence_length_tokens
    seconds = STAGE_START_SECONDS + tokens / TOKENISER_TOKENS_PER_SECOND
    return StageCost("mix", tokens * TOKEN_BYTES, 0.0, 2.0 * INTERPRETER_BYTES, seconds)


def _dump(config: Config, machine: Machine, sizes: list[ModelSize]) -> StageCost:
    d_model, n_train = sizes[0].d_model, n_train_rows(config)
    in_rounds = config.dump.rows_per_round is not None
    trained_on = 0.0 if in_rounds else n_train * dumped_row_bytes(config, d_model)
    disk = trained_on + n_heldout_rows(config) * stored_row_bytes(config, d_model)
    rows = n_heldout_rows(config) + (0 if in_rounds else n_train)
    memory = INTERPRETER_BYTES + lower_bytes(config, sizes)
    memory += 8.0 * config.dump.batch_tokens * d_model * 4
    seconds = STAGE_START_SECONDS + lower_seconds(config, machine, sizes, rows, disk)
    if config.dump.scatter_seed is not None:
        memory += config.shuffle.memory_bytes
    dropped = trained_on if config.runtime.drop_unshuffled else 0.0
    return StageCost("dump", disk - dropped, dropped, memory, seconds)


def _shuffle(config: Config, machine: Machine, d_model: int) -> StageCost:
    # In rounds training does it, with as much memory of the host.
    memory = INTERPRETER_BYTES / 2 + config.shuffle.memory_bytes
    if config.dump.rows_per_round is not None:
        return StageCost("shuffle", 0.0, 0.0, memory, STAGE_START_SECONDS)
    rows = float(n_train_rows(config))
    dumped, store = (
        rows * dumped_row_bytes(config, d_model),
        rows * stored_row_bytes(config, d_model),
    )
    # Two passes write every row to a bucket and read it again; a bucket's rows are not coded.
    buckets = 0.0 if config.dump.scatter_seed is not None else rows * row_bytes(d_model)
    moved = dumped + 2.0 * buckets + store
    seconds = STAGE_START_SECONDS + moved / machine.disk_bytes_per_second
    # Beside the result: the two passes' buckets, and the dumped rows where they go in the end.
    scratch = buckets + (dumped if config.runtime.drop_unshuffled else 0.0)
    return StageCost("shuffle", store, scratch, memory, seconds)


def _train(config: Config, machine: Machine, d_model: int) -> StageCost:
    n_latents, precision = n_latents_of(config.crosscoder), config.train.precision
    rows = config.train.n_rows or n_train_rows(config)
    width = len(MODELS) * d_model
    parameters = 2.0 * width * n_latents
    k = config.crosscoder.k if isinstance(config.crosscoder, BatchTopKConfig) else None
    step = StepSize(config.train.batch_rows, n_latents, width, precision, k)
    seconds = training_seconds(step, rows, width, machine)
    latents = 4.0 * config.train.batch_rows * n_latents
    return StageCost(
        "train",
        4.0 * parameters,
        2 * 12.0 * parameters,
        INTERPRETER_BYTES + 16.0 * parameters + 3 * latents,
        STAGE_START_SECONDS + seconds,
    )


def _import(config: Config, machine: Machine, d_model: int) -> StageCost:
    """A finished crosscoder: its weights read and written, its factors measured on rows at most."""
    width, stored = len(MODELS) * d_model, n_train_rows(config)
    weights = 4.0 * 2.0 * width * n_latents_of(config.crosscoder)
    rows = min(config.train.normalisation_rows or stored, stored)
    seconds = (2.0 * weights + 2.0 * rows * width) / machine.disk_bytes_per_second
    memory = INTERPRETER_BYTES + 2.0 * weights
    return StageCost("train", weights, weights, memory, STAGE_START_SECONDS + seconds)


def _evaluate(config: Config, machine: Machine, sizes: list[ModelSize]) -> StageCost:
    evaluate, length = config.evaluate, config.mix.sequence_length_tokens
    tokens = evaluate.n_sequences * length
    # Per model: one whole clean pass, then the upper blocks for splices and ablations.
    flops = sum(4 * size.flops_per_token(size.n_layers, logits=True) for size in sizes) * tokens
    rate = model_rate(config, machine)
    memory = spliced_bytes(config, sizes, evaluate.batch_sequences)
    return StageCost("evaluate", 0.0, 0.0, memory, STAGE_START_SECONDS + flops / rate)
