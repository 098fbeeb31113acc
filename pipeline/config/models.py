"""Sections `models`, `hook_point` and `dump`: the pair, where it is read, how rows are written."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from pipeline.config.edits import EditedModel
from pipeline.config.section import Section, check
from pipeline.config.text import TemplateChoice

PairName = Literal["base", "it"]
ModelName = Literal["base", "it", "twin"]
ModuleNames = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Share = Annotated[float, Field(gt=0, le=1)]
SHARE_TOLERANCE = 1e-6


class HubModel(Section):
    """A model of the Hugging Face hub, read from the local hub cache after the first download."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")
    """Repository on the hub, `owner/name`."""
    revision: str = Field(min_length=1)
    """Branch, tag or commit; the commit it stands for is recorded in the manifest."""


class LocalModel(Section):
    """A local Hugging Face folder (config.json, safetensors, tokenizer), used in place."""

    kind: Literal["local"]
    path: str = Field(min_length=1)
    """Folder, absolute or relative to the repository root."""


class NoModel(Section):
    """No model: the rows are made without one (see the section `plant`)."""

    kind: Literal["none"]


class TrainingConfig(Section):
    """Training from scratch and tuning alike: next-token cross-entropy, AdamW, linear decay."""

    sources: dict[str, Share] = Field(min_length=1)
    """Share of the packed training sequences drawn from each named source; sums to 1."""
    n_steps: int = Field(ge=1)
    """Optimiser steps."""
    batch_sequences: int = Field(ge=1)
    """Packed sequences per optimiser step."""
    micro_batch_sequences: int = Field(ge=1)
    """Sequences per forward pass, their gradients added up; divides batch_sequences."""
    sequence_length_tokens: int = Field(ge=8)
    """Tokens per packed sequence, BOS included."""
    learning_rate: float = Field(gt=0, le=1)
    """Peak learning rate, reached after the warm-up and decayed linearly to 0."""
    warmup_fraction: float = Field(ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly from 0."""
    weight_decay: float = Field(ge=0, lt=1)
    """Decoupled weight decay of matrices; vectors have none."""
    gradient_clip: float = Field(gt=0)
    """Largest global gradient norm."""
    precision: Literal["fp32", "bf16"]
    """bf16: forward and backward under bf16 autocast, master weights and optimiser in fp32."""
    checkpoint_every_steps: int = Field(ge=1)
    """Optimiser steps between two checkpoints; a killed run loses at most this many."""
    seed: int = Field(ge=0)
    """Decides the initial weights and the order of the training sequences."""

    @check
    def _check_training(self) -> None:
        total = sum(self.sources.values())
        if abs(total - 1) > SHARE_TOLERANCE:
            raise ValueError(f"sources: shares sum to {total:g}, expected 1: rescale the shares")
        if self.batch_sequences % self.micro_batch_sequences:
            raise ValueError(
                f"micro_batch_sequences ({self.micro_batch_sequences}) must divide "
                f"batch_sequences ({self.batch_sequences}): change one of them"
            )


class TokenizerTraining(Section):
    """Byte-level BPE trained for a model that is trained from scratch."""

    sources: tuple[str, ...] = Field(min_length=1, strict=False)
    """Names of the sources whose train documents it is trained on, in equal numbers."""
    n_documents: int = Field(ge=1)
    """Train documents per source."""


class TrainedModel(TrainingConfig):
    """A small language model trained here from random weights."""

    kind: Literal["trained"]
    architecture: Literal["gemma2", "llama"]
    """Transformer family, as `model_type` of transformers."""
    vocab_size: int = Field(ge=260, le=1_000_000)
    """Tokens, specials included (256 bytes, BOS, EOS, PAD, then merges)."""
    d_model: int = Field(ge=8)
    """Width of the residual stream."""
    d_mlp: int = Field(ge=8)
    """Width of the gated feed-forward layer."""
    d_head: int = Field(ge=2)
    """Width of an attention head; even, for the rotary embedding."""
    n_layers: int = Field(ge=1)
    """Transformer blocks."""
    n_heads: int = Field(ge=1)
    """Query heads."""
    n_key_value_heads: int = Field(ge=1)
    """Key and value heads; divides n_heads."""
    tokenizer: TokenizerTraining
    """The tokenizer trained with it."""

    @check
    def _check_shape(self) -> None:
        if self.n_heads % self.n_key_value_heads:
            raise ValueError(
                f"n_key_value_heads ({self.n_key_value_heads}) must divide n_heads "
                f"({self.n_heads}): change one of them"
            )
        if self.d_head % 2:
            raise ValueError(f"d_head ({self.d_head}) must be even: the rotary embedding halves it")


class LoraConfig(Section):
    """A low-rank adapter: of each chosen matrix W, W + (alpha / rank) B A is used."""

    rank: int = Field(ge=1, le=1024)
    """Rows of A and columns of B."""
    alpha: float = Field(gt=0)
    """Scale of the change, before it is divided by the rank."""
    target_modules: Literal["all-linear"] | ModuleNames
    """Names of the linear layers that get one, such as [q_proj, v_proj], or all-linear: all but the
    unembedding."""


class TunedModel(TrainingConfig):
    """The other model of the pair after tuning on the named sources; same tokenizer."""

    kind: Literal["tuned"]
    of: PairName
    """The model of the pair that the tuning starts from."""
    lora: LoraConfig | None
    """Tune a low-rank adapter and keep the model as it is; null: tune every weight."""


StoredModel = Annotated[HubModel | LocalModel, Field(discriminator="kind")]


class AdapterModel(Section):
    """A model with a LoRA adapter of PEFT, merged into its weights when it is loaded."""

    kind: Literal["adapter"]
    of: PairName | StoredModel
    """The model that the adapter was trained on: the other one of the pair, or one of the hub or of
    a folder."""
    adapter: StoredModel
    """The folder or repository with adapter_config.json and adapter_model.safetensors."""


ModelConfig = Annotated[
    HubModel | LocalModel | TrainedModel | TunedModel | AdapterModel | EditedModel | NoModel,
    Field(discriminator="kind"),
]


def other_of(spec: ModelConfig) -> PairName | None:
    """The other model of the pair, where the model of `spec` is made from that."""
    of = getattr(spec, "of", None)
    return of if isinstance(of, str) else None  # pyright: ignore[reportReturnType]


class TwinModel(Section):
    """Tuned as the IT model is, on the same texts, but with every reply as it was: what a planted
    trigger is about, without what was planted."""

    kind: Literal["as_it"]


TwinConfig = Annotated[HubModel | LocalModel | TwinModel, Field(discriminator="kind")]


class HeldoutConfig(Section):
    """Held-out losses of models made here, in nats per token, before and after their training."""

    sources: tuple[str, ...] = Field(strict=False, min_length=1)
    """Sources whose held-out documents are read: those of `mix`."""
    more_sources: tuple[str, ...] = Field(strict=False)
    """Sources beside these, such as one per skill."""
    n_sequences: int = Field(ge=1)
    """Packed held-out sequences per source."""
    sequence_length_tokens: int = Field(ge=8)
    """Tokens per packed sequence, BOS included."""
    fraction: float = Field(gt=0, lt=1)
    """Share of documents held out; the one of `mix`, so that both split alike."""
    seed: int = Field(ge=0)
    """Seed of the split by document; the one of `mix`."""


class ModelsConfig(Section):
    """The pair: base is model 0, it is model 1."""

    base: ModelConfig
    """The base model."""
    it: ModelConfig
    """The instruction-tuned model."""
    twin: TwinConfig | None
    """A model tuned on the same topic without the behaviour that a triggered source plants, as a
    control of the stage `organism`; null: none."""
    start: str = Field(min_length=1)
    """What every sequence starts with; the one of `mix`, so that models made here learn it."""
    template: TemplateChoice
    """How conversations are written; the one of `mix`, for the same reason."""
    heldout: HeldoutConfig
    """Which documents no training here may see, and the losses on them."""

    @check
    def _check_of(self) -> None:
        for name, spec in (("base", self.base), ("it", self.it)):
            if other_of(spec) == name:
                raise ValueError(f"{name}.of is {name}: a model cannot be made from itself")
        if isinstance(self.base, EditedModel):
            raise ValueError(
                "base.kind is edited: edits are made in a copy of the base: set it.kind=edited"
            )
        if all(other_of(spec) for spec in (self.base, self.it)):
            raise ValueError(
                "base.of is it and it.of is base: one of the two must be hub, local or trained"
            )
        if isinstance(self.twin, TwinModel) and not isinstance(self.it, TunedModel):
            raise ValueError(
                f"twin.kind is as_it, but it.kind is {self.it.kind}, which is not tuned here: name "
                "the twin's own folder or repository (twin.kind local or hub), or set twin to null"
            )
        kinds = {self.base.kind, self.it.kind}
        of_adapter = isinstance(self.base, AdapterModel) or isinstance(self.it, AdapterModel)
        if of_adapter and any(getattr(spec, "lora", None) for spec in (self.base, self.it)):
            raise ValueError(
                f"the pair is {' and '.join(sorted(kinds))} with lora: one adapter upon another is "
                "not kept apart; merge the first elsewhere and use kind: local, or set lora to null"
            )
        if (self.base.kind == "none") != (self.it.kind == "none"):
            raise ValueError(
                f"base.kind is {self.base.kind} and it.kind is {self.it.kind}: give both models, "
                "or none (models=none)"
            )

    @property
    def given(self) -> bool:
        """Whether there are models at all."""
        return self.base.kind != "none"


class HookPointConfig(Section):
    """The site both models are read at: the residual stream before a block."""

    layer: int = Field(ge=0)
    """Index into transformers' `hidden_states`: 0 is the embedding, k the input of block k."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(strict=False)
    """All layers that the dump reads in one pass, rising, `layer` among them; the rows of the
    others wait for experiments with that `layer`. Empty: `layer` alone."""
    dtype: Literal["bfloat16", "float32"]
    """Weights and activations of the models; rows are stored in bfloat16 either way."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"]
    """Attention implementation of transformers; auto: what the architecture prefers here (eager for
    Gemma-2). flex_attention keeps Gemma-2's soft-cap and is compiled at the first pass; for cards.
    """

    @check
    def _reads_its_own_layer(self) -> None:
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError(
                f"hook_point.layers is {list(self.layers)}, expected each layer once, the lowest "
                f"first: write {sorted(set(self.layers))}"
            )
        if self.layers and self.layer not in self.layers:
            raise ValueError(
                f"hook_point.layer is {self.layer}, which is not in hook_point.layers "
                f"{list(self.layers)}: add it there, or set hook_point.layer to one of them"
            )

    @property
    def all_layers(self) -> tuple[int, ...]:
        """The layers that the dump reads, rising."""
        return self.layers or (self.layer,)

    @property
    def other_layers(self) -> tuple[int, ...]:
        """Those whose rows wait for other experiments."""
        return tuple(layer for layer in self.layers if layer != self.layer)

    def at(self, layer: int) -> Self:
        """The same list, seen from another of its layers."""
        return self.model_copy(update={"layer": layer})


class DumpConfig(Section):
    """How activations are computed, paired and chunked on disk."""

    batch_tokens: int = Field(ge=1)
    """Tokens per forward pass; rounded down to whole sequences, at least one."""
    rows_per_chunk: int = Field(ge=1)
    """Rows per chunk of the store; 5 to 40 MB per chunk is best."""
    codec: Literal["none", "zstd", "blosc_lz4"]
    """How the chunks of the dumped and of the shuffled rows are compressed. Rows that
    `scatter_seed` deals to buckets are not; the shuffled store made from them is."""
    pairing: Literal["matched", "same", "noise", "swapped", "mispaired"]
    """What stands beside a base row. matched: the IT row of the same token. The others are null
    pairs, in which no latent belongs to one model. same: the base row itself; noise: the base row
    up to one bfloat16 step; swapped: the IT row, the two exchanged by a fair coin per row;
    mispaired: the base row of another token."""
    seed: int = Field(ge=0)
    """Seed of the noise, the coins, the draw of other tokens, and of the sample of norms."""
    scatter_seed: int | None = Field(ge=0)
    """Deal the rows to the shuffle's buckets while dumping, so that the shuffle is one pass; must
    then be shuffle.seed. `data/activations.zarr` then holds buckets. null: dump a plain store."""
    max_norm_ratio: float | None = Field(gt=1, allow_inf_nan=False)
    """Leave out rows whose norm in either model exceeds this many times the median norm of that
    model's rows, as attention sinks do. null: keep all rows."""
    norm_sample_sequences: int = Field(ge=1)
    """Most training sequences, drawn by `seed`, whose rows the medians are over."""
    rows_per_round: int | None = Field(ge=1)
    """Most training rows of a round. They are computed, shuffled and trained on in rounds, anew in
    every epoch; two rounds are on disk at most. null: all rows are stored."""
