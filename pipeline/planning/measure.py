"""Rates measured on this machine, in less than a minute: the library's own code on random data.

Every probe runs one kind of work in the shapes of the experiment, but smaller: two blocks of a
model, a part of its vocabulary, fewer latents. The rates are kept in `logs/`, by machine and by all
that a probe is made from, and read the next time.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from pipeline.analysis.changes.search import densest
from pipeline.analysis.losses import token_losses
from pipeline.analysis.splicing import head_of
from pipeline.artifacts import canonical_json, write_json
from pipeline.config import Config
from pipeline.config.crosscoder import BatchTopKConfig, PretrainedConfig, TrainableConfig
from pipeline.crosscoder.initialise import initial_crosscoder
from pipeline.crosscoder.variant import Moment
from pipeline.crosscoder.variants import build_variant
from pipeline.labels import MODELS
from pipeline.models.continuation import Continuation
from pipeline.models.here import configuration_of
from pipeline.models.hook import residual
from pipeline.models.load import DTYPES
from pipeline.models.size import size_from, sizes_of
from pipeline.models.skeleton import truncated
from pipeline.planning.rates import TEXT_SECONDS, Machine, Rates
from pipeline.run_records import machine as machine_name
from pipeline.runtime import resolve_device, set_threads
from pipeline.training.optimiser import Adam

LOGS = Path("logs")
VERSION = 7  # raised where a probe measures something else than before
SECTIONS = (
    *("models", "hook_point", "mix", "dump", "crosscoder", "train", "baselines", "changes"),
)
N_BLOCKS, MAX_VOCABULARY, MAX_LATENTS, MAX_TOKENS, N_WRITTEN = 2, 16_384, 1_024, 2_048, 8
N_CLIMBED = 16_384  # rows
COUNTS = ("n_latents", "n_shared_latents", "k", "k_start")  # keys that grow with the latents
REPEATED_SECONDS = 1.0
N_RUNS = {"cpu": 1, "cuda": 3}  # at least: the first compiles kernels of a card
IMPORTS = "import torch, transformers.models.auto.modeling_auto, altair, pandas"
Clock = Callable[[], float]
"""Seconds since whenever."""


def rates_here(config: Config, machine: Machine, clock: Clock = time.perf_counter) -> Rates | None:
    """Rates of this machine, read where they were measured before. None where sizes are unknown."""
    sizes = sizes_of(config)
    if sizes is None:
        return None
    plain = config.model_dump(mode="json")
    what = {name: plain[name] for name in SECTIONS} | {"version": VERSION}
    what |= {"machine": machine_name(), "device": machine.device_name, "torch": torch.__version__}
    file = LOGS / f"plan-{hashlib.sha256(canonical_json(what)).hexdigest()[:16]}.json"
    if not file.exists():
        set_threads(config.runtime.n_threads)
        probes = Probes(config, sizes[0].d_model, resolve_device(machine.device), clock)
        byte = 1 / machine.disk_bytes_per_second
        write_json(file, asdict(Rates(byte=byte, text=TEXT_SECONDS, **probes.all())))
    return Rates(**json.loads(file.read_text()))


@dataclass(frozen=True)
class Probes:
    """Short runs of each kind of work."""

    config: Config
    d_model: int
    device: torch.device
    clock: Clock

    def all(self) -> dict[str, float]:
        """The rates of what a processor does and the experiment has."""
        crosscoder, found = self.config.crosscoder, {"start": self.seconds(start)}
        found["diff_step"], found["encode"] = self.step(self.config.baselines.diff_sae, 1)
        if not isinstance(crosscoder, PretrainedConfig):
            found["step"], found["encode"] = self.step(crosscoder, len(MODELS))
        found["climb"] = self.climb()
        return found | (self.reading() if self.config.has_models else {})

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds of a run of the work, the median of runs that together take long enough."""
        taken = list[float]()
        while len(taken) < N_RUNS[self.device.type] or sum(taken) < REPEATED_SECONDS:
            began = self.clock()
            work()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(self.clock() - began)
        return median(taken)

    def step(self, crosscoder: TrainableConfig, n_models: int) -> tuple[float, float]:
        """Seconds per row of a training step, of as many latents as the configuration has, and per
        operation of encoding rows. The weights stay as they are, and so does the sparsity."""
        train, share = self.config.train, min(1.0, MAX_LATENTS / crosscoder.n_latents)
        counts = {name: getattr(crosscoder, name, None) for name in COUNTS}
        fewer = crosscoder.model_copy(
            update={name: max(1, round(share * n)) for name, n in counts.items() if n is not None}
        )
        drawn = initial_crosscoder(
            fewer, n_models=n_models, d_model=self.d_model, activation_scale=torch.ones(n_models)
        ).to(self.device)
        variant = build_variant(
            drawn, fewer, precision=train.precision, dead_after_rows=train.dead_after_rows
        )
        optimiser = Adam.of(variant, train)
        x_BMD = torch.randn(train.batch_rows, n_models, self.d_model, device=self.device)
        with torch.no_grad():
            if not isinstance(fewer, BatchTopKConfig):  # as many are active as on average
                n_rows = train.n_rows or self.config.mix.n_train_tokens
                pre_N = drawn.preactivations(x_BMD).flatten()
                rank = round((1 - active_share(n_rows / train.batch_rows)) * len(pre_N))
                drawn.b_enc_L.sub_(pre_N.kthvalue(rank).values)
            encoding = self.seconds(lambda: drawn.encode(x_BMD))

        def step() -> None:
            done = variant.step(x_BMD.flatten(1), Moment(1, 2), train.batch_rows)
            optimiser.update(learning_rate=0.0, gradient_norm=optimiser.gradient_norm())
            variant.advance(done, train.batch_rows)

        operations = 2.0 * x_BMD.numel() * fewer.n_latents
        return self.seconds(step) / train.batch_rows / share, encoding / operations

    def climb(self) -> float:
        """Seconds per operation of climbing, over more rows than a cache holds."""
        section = self.config.changes
        rows_TD = torch.randn(N_CLIMBED, self.d_model, device=self.device)
        random = torch.Generator().manual_seed(0)
        climbing = self.seconds(lambda: densest(rows_TD, rows_TD.norm(dim=1), section, random))
        return climbing / (4.0 * rows_TD.numel() * section.n_starts * section.n_iterations)

    def reading(self) -> dict[str, float]:
        """Seconds per operation of the base model's first blocks with random weights and a part of
        its vocabulary: reading texts, losses included, and writing token by token."""
        config, whole = self.config, configuration_of(self.config.models, "base")
        assert whole is not None, "models of unknown size have no plan"
        small = truncated(whole, N_BLOCKS)
        text: Any = small.get_text_config(decoder=True)
        text.vocab_size = min(text.vocab_size, MAX_VOCABULARY)
        attention = config.hook_point.attention
        chosen = {} if attention == "auto" else {"attn_implementation": attention}
        dtype, size = DTYPES[config.hook_point.dtype], size_from(small)
        model: Any = AutoModelForCausalLM.from_config(small, dtype=dtype, **chosen)
        model.eval().requires_grad_(False).to(self.device)
        head = head_of(model, config.runtime.logits_bytes)
        length = min(config.mix.sequence_length_tokens, MAX_TOKENS)
        n_texts = max(1, min(config.dump.batch_tokens, MAX_TOKENS) // length)
        read_shape, write_shape = (n_texts, length), (config.steering.batch_texts, N_WRITTEN)
        all_ids, write_ids = (
            torch.randint(3, text.vocab_size, shape, device=self.device)
            for shape in (read_shape, write_shape)
        )

        def read(read_ids: Tensor) -> None:
            stream = residual(model, N_BLOCKS, read_ids).flatten(0, 1)
            token_losses(head, read_ids.flatten(), stream, [stream])

        def reading_seconds() -> float:
            """Per token, of as much of the texts as does not take long: a processor without
            bfloat16 reads a large model a hundred times more slowly than others."""
            for read_ids in (all_ids[:1, : -(-length // 16)], all_ids[:1], all_ids):
                seconds = self.seconds(partial(read, read_ids))
                if seconds > REPEATED_SECONDS:
                    break
            return seconds / read_ids.numel()

        def write() -> None:
            reading = Continuation(model, 1)
            for at in range(N_WRITTEN):
                reading.logits(write_ids[:, at : at + 1], lambda own: own)

        with torch.inference_mode():
            read_seconds, write_seconds = reading_seconds(), self.seconds(write)
        return {
            "forward": read_seconds / size.operations(N_BLOCKS, n_heads=2),
            "write": write_seconds / (size.operations(N_BLOCKS, n_heads=1) * write_ids.numel()),
        }


def active_share(n_steps: float) -> float:
    """Share of the latents that are active on a row, the mean over a training without k: about half
    at first and one of a hundred in the end, as if it fell after 90 steps."""
    return min(0.5, 0.01 + 0.5 * 90 / n_steps)


def start() -> None:
    """What a stage does before it works."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True)
