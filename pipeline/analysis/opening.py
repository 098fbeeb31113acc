"""One way to open a stage of the analysis: checked inputs, threads, device, models and readers.

Nothing heavy is imported before it is asked for: a stage that only reads tables never loads torch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.config import Config
from pipeline.config.models import ModelName
from pipeline.distributed import Ranks, world
from pipeline.labels import OUTLIERS
from pipeline.results import ResultFile
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import CROSSCODER, HELDOUT_ACTIVATIONS, MODELS, RESULTS, TOKENS, Stage

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast

    from pipeline.analysis.heldout import Window
    from pipeline.analysis.lens import TokenList
    from pipeline.analysis.losses import Head
    from pipeline.analysis.splicing import HookedModel, Unpatched
    from pipeline.crosscoder import Crosscoder
    from pipeline.store import StoreReader


class Sampled(Protocol):
    """A section of the configuration that asks for held-out rows."""

    @property
    def n_rows(self) -> int: ...
    @property
    def batch_rows(self) -> int: ...


class Opened:
    """A stage at work. manifests: of its inputs, checked against the configuration, by name."""

    def __init__(self, stage: Stage, config: Config) -> None:
        self.config = config
        self.ranks: Ranks = world()
        """The processes of the stage, which share its rows and sequences."""
        self.manifests = {name: stage.input(config, name) for name in stage.inputs}

    @cached_property
    def device(self) -> "torch.device":
        """The device that models and rows are on; torch is set up where it is first asked for."""
        set_threads(self.config.runtime.n_threads)
        return resolve_device(self.config.runtime.device)

    def crosscoder(self, folder: Path = CROSSCODER) -> "Crosscoder":
        """The crosscoder in `folder`, on the device."""
        device = self.device
        from pipeline.crosscoder import Crosscoder

        return Crosscoder.load(folder).to(device)

    def reader(self, store: Path) -> "StoreReader":
        """A store, open for reading with the configured threads; close it by `with`."""
        from pipeline.store import StoreReader

        return StoreReader.open(store, n_threads=self.config.runtime.io_threads)

    @contextmanager
    def heldout(self, section: Sampled) -> "Iterator[Window]":
        """The held-out rows that a section asks for."""
        from pipeline.analysis.heldout import Window

        with self.reader(HELDOUT_ACTIVATIONS) as reader:
            yield Window(reader, section.n_rows, section.batch_rows, self.ranks)

    @property
    def heldout_sequences(self) -> range:
        """Numbers of the held-out sequences in the token store."""
        counts = self.manifests["tokens"].counts
        first = counts["n_train_sequences"]
        return range(first, first + counts["n_heldout_sequences"])

    def sampled_sequences(self, n: int, random: "np.random.Generator") -> "NDArray[np.int64]":
        """At most `n` held-out sequences, ascending, equally many of each source as far as there
        are enough."""
        from pipeline.analysis.splicing import sample_sequences

        held = self.heldout_sequences
        with self.reader(TOKENS) as tokens:
            source_QS = tokens.read("source", held.start, held.stop)
        return held.start + sample_sequences(source_QS[:, -1], n, random)

    def latents(self) -> "pd.DataFrame":
        """`results/latents.parquet`: one row per latent."""
        return ResultFile("latents.parquet", "latent_scaling", dict).frame(RESULTS)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The pair's tokenizer."""
        from pipeline.models.load import load_tokenizer

        return load_tokenizer(MODELS)

    @property
    def start_id(self) -> int | None:
        """The token that begins every sequence, or None where nothing does."""
        from pipeline.models.start import read_start

        return read_start(MODELS).id

    @property
    def outliers(self) -> dict[str, Any]:
        """What the inputs say of rows that were left out for their norm, to be handed on to what is
        made from them; empty where all rows were kept."""
        found = (manifest.facts for manifest in self.manifests.values())
        return next(({OUTLIERS: facts[OUTLIERS]} for facts in found if OUTLIERS in facts), {})

    @property
    def unpatched(self) -> "Unpatched":
        """The positions of texts that give no row, which no patch may touch."""
        from pipeline.analysis.splicing import Unpatched

        limits = None
        if self.outliers:
            of_model = self.outliers[OUTLIERS]["norm_limit"]
            limits = (of_model["base"], of_model["it"])
        return Unpatched(self.start_id, limits)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(list(token_ids)))

    def hooked_models(self) -> "tuple[HookedModel, HookedModel]":
        """The base and the IT model, whole, open at the hook point."""
        from pipeline.analysis.splicing import hooked_pair

        room_bytes = self.config.runtime.logits_bytes
        return hooked_pair(MODELS, self.config.hook_point, self.device, room_bytes)

    def hooked_model(self, name: ModelName) -> "HookedModel":
        """One model, whole, open at the hook point."""
        from pipeline.analysis.splicing import hooked_model

        room_bytes = self.config.runtime.logits_bytes
        return hooked_model(MODELS, name, self.config.hook_point, self.device, room_bytes)

    def head(self, name: ModelName) -> "Head":
        """Final norm, unembedding and soft-cap of a model, in float32; one of its blocks is
        loaded, because no model can be built without any."""
        from pipeline.analysis.splicing import head_of
        from pipeline.models.load import load_model

        model = load_model(
            MODELS,
            name,
            dtype="float32",
            attention=self.config.hook_point.attention,
            device=self.device,
            n_layers=1,
        )
        return head_of(model, self.config.runtime.logits_bytes)

    def lens(self, directions_JMD: "torch.Tensor", n_tokens: int) -> "dict[str, TokenList]":
        """The tokens that directions of either model promote and suppress through its head."""
        from pipeline.analysis.lens import logit_lens

        heads = (self.head("base"), self.head("it"))
        return logit_lens(heads, directions_JMD, n_tokens=n_tokens, n_vocab=len(self.tokenizer))
