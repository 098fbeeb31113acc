"""Rough cost of the stages after `evaluate` that can take long.

A crosscoder of L latents over rows of `width` numbers: a row costs 2 x width x L to encode. What
follows from its active latents alone is small beside that.
"""

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.labels import MODELS
from pipeline.planning.cost import (
    INTERPRETER_BYTES,
    STAGE_START_SECONDS,
    StageCost,
    model_rate,
    n_heldout_rows,
    n_train_rows,
    spliced_bytes,
)
from pipeline.planning.dictionary import n_latents_of
from pipeline.planning.machine import Machine
from pipeline.planning.model_size import ModelSize
from pipeline.planning.training_step import TRAIN_EFFICIENCY, StepSize, training_seconds

FIXED_PATCHES = 8
LATENT_SETS = 7
MATCHED_SETS = 4
"""Of these at most, the patches of `causal`: see its docstring."""
BASELINE_PATCHES = 4
DASHBOARD_BYTES = 2_000.0
"""Of a dashboard on disk, packed; measured with `tiny`."""
BLOCK_BYTES = 112
"""Per block of documents and latent, in `latent_scaling`."""


def analyses(
    config: Config, machine: Machine, sizes: Sequence[ModelSize], train: StageCost
) -> list[StageCost]:
    """latent_scaling, causal, baselines, dashboards, seed_runs and seeds, those that the
    experiment has. train: the cost of one training of its crosscoder."""
    scaling = _latent_scaling(config, machine, sizes[0].d_model)
    costs = [scaling]
    if config.has_models:
        costs.append(_causal(config, machine, sizes))
    costs.append(_baselines(config, machine, sizes))
    if config.has_models:
        costs.append(_dashboards(config, machine, sizes))
    n_more = config.seeds.n_runs - 1
    if n_more and config.crosscoder.kind != "pretrained":
        seconds = STAGE_START_SECONDS + n_more * (train.seconds - STAGE_START_SECONDS)
        disk, memory = n_more * train.disk_bytes, train.memory_bytes
        costs.append(StageCost("seed_runs", disk, train.scratch_bytes, memory, seconds))
        costs.append(StageCost("seeds", 0.0, 0.0, scaling.memory_bytes, n_more * scaling.seconds))
    return costs


def _encoding_seconds(config: Config, machine: Machine, d_model: int, n_rows: int) -> float:
    """One pass over held-out rows, read and encoded in fp32."""
    width, rows = len(MODELS) * d_model, min(n_rows, n_heldout_rows(config))
    rate = machine.fp32_flops_per_second * TRAIN_EFFICIENCY[machine.device]
    read = 2.0 * rows * width / machine.disk_bytes_per_second
    return max(read, 2.0 * width * n_latents_of(config.crosscoder) * rows / rate)


def _latent_scaling(config: Config, machine: Machine, d_model: int) -> StageCost:
    section, n_latents = config.latent_scaling, n_latents_of(config.crosscoder)
    seconds = STAGE_START_SECONDS + _encoding_seconds(config, machine, d_model, section.n_rows)
    sums = float(BLOCK_BYTES) * section.n_blocks * n_latents
    latents = 4.0 * section.batch_rows * n_latents
    memory = INTERPRETER_BYTES + sums + 2 * latents + 8.0 * len(MODELS) * d_model * n_latents
    elsewhere_seconds, covariances = _elsewhere(config, machine, d_model)
    seconds, memory = seconds + elsewhere_seconds, memory + covariances
    return StageCost("latent_scaling", 0.0, 0.0, memory, seconds)


def _elsewhere(config: Config, machine: Machine, d_model: int) -> tuple[float, float]:
    """Seconds and bytes of the two passes for the direction elsewhere: encoding, and covariances of
    both models' rows and errors. What the latents that look exclusive add is not known before."""
    rows = min(config.latent_scaling.n_rows, n_heldout_rows(config))
    rate = machine.fp32_flops_per_second * TRAIN_EFFICIENCY[machine.device]
    encoding = _encoding_seconds(config, machine, d_model, config.latent_scaling.n_rows)
    n_covariances = 2 * len(MODELS)
    products = 2.0 * n_covariances * d_model**2 * rows / rate
    return 2 * encoding + products, 2 * 8.0 * n_covariances * d_model**2


def _patched(
    config: Config, machine: Machine, sizes: Sequence[ModelSize], n_patches: int
) -> tuple[float, float]:
    """Seconds and bytes of the causal test: the lower blocks of both models once, the upper ones of
    the IT model for each patch, for the unmoved base activation and for its own."""
    section, length = config.causal, config.mix.sequence_length_tokens
    layer, it = config.hook_point.layer, sizes[1]
    lower = sum(size.flops_per_token(layer) for size in sizes)
    upper = it.flops_per_token(it.n_layers - layer, logits=True)
    tokens = float(section.n_sequences * length)
    seconds = (lower + (n_patches + 2) * upper) * tokens / model_rate(config, machine)
    return seconds, spliced_bytes(config, sizes, section.batch_sequences)


def _causal(config: Config, machine: Machine, sizes: Sequence[ModelSize]) -> StageCost:
    n_patches = FIXED_PATCHES + LATENT_SETS + MATCHED_SETS * config.causal.n_draws
    seconds, memory = _patched(config, machine, sizes, n_patches)
    seconds += STAGE_START_SECONDS
    return StageCost("causal", 0.0, 0.0, memory, seconds)


def _baselines(config: Config, machine: Machine, sizes: Sequence[ModelSize]) -> StageCost:
    section, d_model = config.baselines, sizes[0].d_model
    n_latents = section.diff_sae.n_latents
    rows = section.n_train_rows or config.train.n_rows or n_train_rows(config)
    step = StepSize(
        config.train.batch_rows, n_latents, d_model, config.train.precision, section.diff_sae.k
    )
    seconds = STAGE_START_SECONDS
    seconds += training_seconds(step, rows, len(MODELS) * d_model, machine)
    seconds += _encoding_seconds(config, machine, d_model, section.n_rows)
    parameters = 2.0 * d_model * n_latents
    memory = INTERPRETER_BYTES + 16.0 * parameters
    memory += 3 * 4.0 * config.train.batch_rows * n_latents
    if config.has_models:
        patched, held = _patched(config, machine, sizes, BASELINE_PATCHES)
        seconds, memory = seconds + patched, max(memory, held)
    scratch = 2 * 12.0 * parameters
    return StageCost("baselines", 4.0 * parameters, scratch, memory, seconds)


def _dashboards(config: Config, machine: Machine, sizes: Sequence[ModelSize]) -> StageCost:
    section = config.dashboards
    seconds = STAGE_START_SECONDS + _encoding_seconds(
        config, machine, sizes[0].d_model, section.n_rows
    )
    chosen = min(section.n_latents, n_latents_of(config.crosscoder) or section.n_latents)
    window = section.tokens_before + 1 + section.tokens_after
    n_examples = section.n_top + section.n_bands * section.n_per_band
    kept = float(chosen) * (n_examples * (8 * window + 48) + 1024)
    # Of each model the embeddings and one block, in float32; rows come before the heads.
    heads = sum(4.0 * (size.n_embedding_parameters + size.n_block_parameters) for size in sizes)
    batch = 16.0 * section.batch_rows * chosen
    memory = INTERPRETER_BYTES + kept + max(heads + config.runtime.logits_bytes, batch)
    return StageCost("dashboards", DASHBOARD_BYTES * chosen, 0.0, memory, seconds)
