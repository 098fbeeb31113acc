"""Rates measured on this machine, in less than a minute: the library's own code on random data.

Every probe runs one kind of work in the shapes of the experiment, but smaller: two blocks of a
model, a part of its vocabulary, fewer latents. What it takes is told per operation (per row, of
training steps, whose products grow with the latents), so that the whole can be priced from it. The
rates are kept in `logs/`, by machine and by all that a probe is made from, and read the next time.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.analysis.losses import token_losses
from pipeline.analysis.splicing import head_of
from pipeline.artifacts import canonical_json, write_json
from pipeline.config import Config
from pipeline.config.crosscoder import (
    BatchTopKConfig,
    DsfConfig,
    PretrainedConfig,
    TrainableConfig,
)
from pipeline.config.models import ModelName, TrainingConfig
from pipeline.config.text import HubSourceConfig
from pipeline.crosscoder import Crosscoder
from pipeline.labels import MODELS
from pipeline.models.continuation import Continuation
from pipeline.models.fitting import new_optimizer, reproducible_attention, update
from pipeline.models.hook import residual
from pipeline.models.load import DTYPES
from pipeline.models.skeleton import truncated
from pipeline.planning.dictionary import n_latents_of
from pipeline.planning.machine import Machine
from pipeline.planning.model_size import (
    ModelSize,
    configuration_in,
    size_from_config,
    sizes_of,
    trained_models,
)
from pipeline.planning.rates import Rates, arithmetic
from pipeline.run_records import machine as machine_name
from pipeline.runtime import resolve_device, set_threads
from pipeline.store.batches import WHOLE, Part
from pipeline.text.sources import documents
from pipeline.text.tokens import train_tokenizer
from pipeline.training.training import Training

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGS = Path("logs")
VERSION = 1
"""Raised where a probe measures something else than before."""
SECTIONS = ("sources", "models", "hook_point", "mix", "dump", "crosscoder", "train", "baselines")
N_BLOCKS, MAX_VOCABULARY, MAX_LATENTS, MAX_TOKENS = 2, 16_384, 1_024, 4_096
N_DOCUMENTS = 150
N_WRITTEN = 8
ACTIVE_SHARE = 0.01
"""Of the latents on a row, in steps without k: most steps of a training are as sparse as that."""
Clock = Callable[[], float]
REPEATED_SECONDS = 1.0
"""That each kind of work is repeated, once at least; the mean of the runs counts."""
IMPORTS = "import torch, transformers.models.auto.modeling_auto, altair, pandas"


def rates_here(config: Config, machine: Machine, clock: Clock = time.perf_counter) -> Rates | None:
    """Rates of this machine, read where they were measured before; what cannot be measured, because
    it lies behind a network or has no models, by arithmetic. None where sizes are unknown.

    clock: in seconds
    """
    sizes = sizes_of(config)
    if sizes is None:
        return None
    plain = config.model_dump(mode="json")
    what = {name: plain[name] for name in SECTIONS}
    what |= {"machine": machine_name(), "device": machine.device_name, "torch": torch.__version__}
    what["version"] = VERSION
    file = LOGS / f"plan-{hashlib.sha256(canonical_json(what)).hexdigest()[:16]}.json"
    if file.exists():
        return Rates(**json.loads(file.read_text()))
    set_threads(config.runtime.n_threads)
    d_model, n_latents = sizes[0].d_model, n_latents_of(config.crosscoder)
    probes = Probes(config, d_model, n_latents, resolve_device(machine.device), clock)
    found = replace(arithmetic(config, d_model, n_latents, machine), **probes.all())
    write_json(file, asdict(found))
    return found


@dataclass(frozen=True)
class Probes:
    """Short runs of each kind of work. n_latents: 0 where nothing tells it"""

    config: Config
    d_model: int
    n_latents: int
    device: torch.device
    clock: Clock

    def all(self) -> dict[str, float]:
        """Fields of Rates; those of models that are not known here are left out."""
        config = self.config
        found = {"start": self._seconds(start, 0.0), "encode": self._encoding()}
        found["diff_step"] = self._step(config.baselines.diff_sae, n_models=1)
        if not isinstance(config.crosscoder, PretrainedConfig):
            found["step"] = self._step(config.crosscoder, n_models=len(MODELS))
        if not config.has_models:
            return found
        found |= self._reading()
        for name, spec in trained_models(config):
            found["fit"] = self._fitting(name, spec)
        if not any(isinstance(config.sources[name], HubSourceConfig) for name in config.mix.shares):
            found["text"] = self._tokenising()
        return found

    def _seconds(self, work: Callable[[], object], n_seconds: float = REPEATED_SECONDS) -> float:
        """Seconds of a run of the work: the mean of runs that together take so long. One goes
        before that does not count, where it is short."""
        seconds, n = self._timed(work), 1
        if seconds < n_seconds:
            seconds, n = 0.0, 0
        while seconds < n_seconds:
            seconds, n = seconds + self._timed(work), n + 1
        return seconds / n

    def _timed(self, work: Callable[[], object]) -> float:
        began = self.clock()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.clock() - began

    def _encoding(self) -> float:
        """Seconds per operation of encoding rows."""
        width = self.d_model
        n_rows, n_latents = (
            self.config.latent_scaling.batch_rows,
            min(MAX_LATENTS, self.n_latents or MAX_LATENTS),
        )
        crosscoder = random_crosscoder(width, n_latents).to(self.device)
        x = torch.randn(n_rows, len(MODELS), width, device=self.device)
        with torch.inference_mode():
            seconds = self._seconds(lambda: crosscoder.encode(x))
        return seconds / (2.0 * len(MODELS) * width * n_latents * n_rows)

    def _step(self, crosscoder: TrainableConfig, n_models: int) -> float:
        """Seconds per row of a training step, of as many latents as the configuration has."""
        share = min(1.0, MAX_LATENTS / crosscoder.n_latents)
        train = self.config.train.model_copy(update={"n_rows": None, "normalisation_rows": None})
        with tempfile.TemporaryDirectory() as folder:
            rows = MemoryRows(torch.randn(train.batch_rows, n_models, self.d_model))
            fewer = narrowed(crosscoder, share)
            run = Training(fewer, train, rows, rows, Path(folder), self.device).start()
            (batch,) = run.stream.batches()
            batch = replace(batch, x_raw=batch.x_raw.to(self.device))
            if not isinstance(crosscoder, BatchTopKConfig):
                make_sparse(run.variant.crosscoder, batch.x_raw)
            run.train_on(batch)  # the step that is logged
            seconds = self._seconds(lambda: run.train_on(batch))
        return seconds / train.batch_rows / share

    def _reading(self) -> dict[str, float]:
        """Seconds per operation of blocks, of losses and of writing a token, of the base model."""
        model, size = self._model("base", DTYPES[self.config.hook_point.dtype])
        length = min(self.config.mix.sequence_length_tokens, MAX_TOKENS)
        n_texts = max(1, min(self.config.dump.batch_tokens, MAX_TOKENS) // length)
        ids = torch.randint(3, size.vocab_size, (n_texts, length), device=self.device)
        blocks = size.flops_per_token(N_BLOCKS)
        head = head_of(model, self.config.runtime.logits_bytes)
        forward = self._seconds(lambda: residual(model, N_BLOCKS, ids)) / (blocks * ids.numel())
        stream = residual(model, N_BLOCKS, ids).flatten(0, 1)[:512]
        targets = ids.flatten()[: len(stream)]
        with torch.inference_mode():
            losses = self._seconds(lambda: token_losses(head, targets, stream, [stream]))
        n_texts = self.config.steering.batch_texts
        text = torch.randint(3, size.vocab_size, (n_texts, N_WRITTEN), device=self.device)

        def write() -> None:
            reading = Continuation(model, 1)
            for at in range(N_WRITTEN):
                reading.logits(text[:, at : at + 1], lambda own: own)

        per_token = blocks + size.head_flops_per_token
        return {
            "forward": forward,
            "head": losses / (2 * size.head_flops_per_token * len(stream)),
            "write": self._seconds(write) / (per_token * text.numel()),
        }

    def _fitting(self, name: ModelName, spec: TrainingConfig) -> float:
        """Seconds per operation of a model's training step, one micro batch long."""
        model, size = self._model(name, torch.float32)
        model.requires_grad_(True).train()
        model.config.use_cache = False
        spec = spec.model_copy(update={"batch_sequences": spec.micro_batch_sequences})
        optimizer = new_optimizer(model, spec)
        shape = (spec.batch_sequences, spec.sequence_length_tokens)
        ids = torch.randint(3, size.vocab_size, shape)
        with reproducible_attention(self.device):
            seconds = self._seconds(lambda: update(model, optimizer, ids, spec, 0))
        per_token = size.flops_per_token(N_BLOCKS) + size.head_flops_per_token
        return seconds / (3 * per_token * ids.numel())

    def _tokenising(self) -> float:
        """Seconds per token of reading documents of every source of the mix and encoding them."""
        sources = {name: self.config.sources[name] for name in self.config.mix.shares}
        began = self.clock()
        texts = [
            document.text
            for name, source in sources.items()
            for document in islice(documents(source, name), N_DOCUMENTS)
        ]
        read = self.clock() - began
        tokenizer = train_tokenizer(texts, 2048)
        began = self.clock()
        n_tokens = sum(len(tokenizer(text).input_ids) for text in texts)
        return (read + self.clock() - began) / n_tokens

    def _model(self, name: ModelName, dtype: torch.dtype) -> tuple[PreTrainedModel, ModelSize]:
        """The first blocks of a model with random weights and a part of its vocabulary."""
        from transformers import AutoModelForCausalLM

        whole = configuration_in(self.config.models, name)
        assert whole is not None, "models of unknown size have no plan"
        config = truncated(whole, N_BLOCKS)
        text: Any = config.get_text_config(decoder=True)
        text.vocab_size = min(text.vocab_size, MAX_VOCABULARY)
        attention = self.config.hook_point.attention
        chosen = {} if attention == "auto" else {"attn_implementation": attention}
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, **chosen)
        return model.eval().requires_grad_(False).to(self.device), size_from_config(config)


@dataclass(frozen=True)
class MemoryRows:
    """A RowSource of rows [B, M, D] in memory."""

    rows: Tensor

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    def batches(
        self,
        batch_rows: int,
        start_row: int = 0,
        stop_row: int | None = None,
        *,
        part: Part = WHOLE,
        **_unused: Any,
    ) -> Iterator[dict[str, Any]]:
        last = self.n_rows if stop_row is None else stop_row
        for first in range(start_row, last, batch_rows):
            wanted = part(min(batch_rows, last - first))
            rows = self.rows[first + wanted.start : first + wanted.stop]
            yield {"activations": rows.bfloat16().view(torch.uint16).numpy()}


def narrowed(crosscoder: TrainableConfig, share: float) -> TrainableConfig:
    """The variant with a share of its latents, of which as many are kept in proportion."""
    counts = {"n_latents": crosscoder.n_latents}
    if isinstance(crosscoder, BatchTopKConfig):
        counts |= {"k": crosscoder.k, "k_start": crosscoder.k_start}
    if isinstance(crosscoder, DsfConfig):
        counts["n_shared_latents"] = crosscoder.n_shared_latents
    update = {name: max(1, round(share * n)) for name, n in counts.items()}
    return crosscoder.model_copy(update={**update, "decoder_bias_init": "zero"})


def make_sparse(crosscoder: Crosscoder, x_raw: Tensor) -> None:
    """Lower the biases so far that rows [B, M, D] activate few latents."""
    with torch.inference_mode():
        pre = crosscoder.preactivations(crosscoder.normalise(x_raw)).flatten()
        edge = pre.kthvalue(round((1 - ACTIVE_SHARE) * pre.numel())).values
    with torch.no_grad():
        crosscoder.b_enc_L.sub_(edge.clone())


def random_crosscoder(d_model: int, n_latents: int) -> Crosscoder:
    """A crosscoder of a pair with random weights."""
    weights = torch.randn(n_latents, len(MODELS), d_model) / d_model**0.5
    return Crosscoder.from_weights(
        kind="l1",
        W_enc=weights.permute(1, 2, 0),
        W_dec=weights,
        b_enc=torch.full((n_latents,), -2.0),
        b_dec=torch.zeros(len(MODELS), d_model),
    )


def start() -> None:
    """What a stage does before it works."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True)
