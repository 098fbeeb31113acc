"""What each stage of an experiment needs: units of each kind of `Work`, and bytes.

A dictionary of L latents over rows of `width` numbers encodes a row with 2 x width x L operations.
What follows from its active latents alone is small beside that, and so is encoding the tokens on
which models are spliced. `code`, `compose` and `local_files` have no line.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from operator import add
from typing import Any, NamedTuple

from pipeline.analysis.explain.asked import tokens_asked
from pipeline.config import Config
from pipeline.config.models import HubModel, TrainedModel, TunedModel, TwinModel
from pipeline.labels import MODELS
from pipeline.models.here import configuration_of
from pipeline.models.size import size_from, sizes_of
from pipeline.planning.rates import Rates, Work
from pipeline.shuffle.geometry import MAX_FILES
from pipeline.shuffle.permutation import Permutation
from pipeline.training.finished import n_latents_of

BYTES = {"bfloat16": 2, "float32": 4}
ROW_TAG_BYTES = 4 * 4 + 2  # token id, position, document, sequence; source, class
TOKEN_BYTES = 4 + 4 + 1 + 1  # token id, document, source, class
CODED_SHARE = {"none": 1.0, "zstd": 0.79, "blosc_lz4": 0.83}  # docs/performance.md, "Codecs"
INTERPRETER_BYTES = TEXT_BYTES = 600e6  # of a process, and of reading text beside it
LATENT_BYTES = 3 * 2**28  # of encoding at most, in pieces (`analysis.splicing.MAX_ELEMENTS`)
STREAMS = 32  # arrays as wide as the residual stream in a pass of a block, its MLP counted so

# Starts of a stage that reads results alone, that loads no torch, and that draws besides.
READING, WITHOUT_TORCH, DRAWING = 0.25, 0.4, 0.7
LOADING = 2.0  # starts of a stage that runs models: their classes load as much again as torch
PROMPT_TOKENS = 12  # of a prompt for steering
NEED_MODELS = {"causal", "parting", "organism", "steering", "dashboards", "explain"}


@dataclass(frozen=True)
class Needs(Work):
    """The units of work of a stage, one start where no other number is given, and bytes.

    disk: that it leaves; scratch: on disk meanwhile; memory: beside the interpreter's own
    """

    disk: float = 0.0
    scratch: float = 0.0
    memory: float = 0.0

    def __add__(self, then: Needs) -> Needs:
        """Both, one after the other: of their memory the larger."""
        both = Needs(*map(add, astuple(self), astuple(then)))
        return replace(both, memory=max(self.memory, then.memory))

    def cost(self, rates: Rates) -> Cost:
        """The disk works beside the processor, so the longer of both counts."""
        taken = {kind: getattr(self, kind) * seconds for kind, seconds in vars(rates).items()}
        starting, moving = taken.pop("start") or rates.start, taken.pop("byte")
        seconds = starting + max(sum(taken.values()), moving)
        return Cost(self.disk, self.scratch, INTERPRETER_BYTES + self.memory, seconds)


class Cost(NamedTuple):
    """Bytes left on disk, there meanwhile, and in memory at the peak; rough seconds."""

    disk: float
    scratch: float
    memory: float
    seconds: float


Costs = dict[str, Cost]
"""Stage -> its cost, in the order of the graph."""


def estimate(config: Config, rates: Rates, n_processes: int = 1) -> Costs:
    """The cost of every stage; empty where a model's size is unknown. n_processes: as of Terms"""
    if sizes_of(config) is None:
        return {}
    return {n: needs.cost(rates) for n, needs in Terms(config, n_processes).stages().items()}


class Terms:
    """The sizes that the stages of an experiment share, and what each of them needs.

    n_processes: that make a round of training rows together
    """

    def __init__(self, config: Config, n_processes: int = 1) -> None:
        sizes, mix, dump = sizes_of(config), config.mix, config.dump
        assert sizes is not None, "a plan without sizes has no costs"
        self.config, self.sizes, self.n_processes = config, sizes, n_processes
        self.d_model, self.n_latents = sizes[0].d_model, n_latents_of(config.crosscoder)
        self.width, self.length = len(MODELS) * self.d_model, mix.sequence_length_tokens
        self.dictionary = 2.0 * self.width * self.n_latents
        """Numbers of a crosscoder, and operations that encode a row."""
        self.n_train = mix.n_train_sequences * (self.length - 1)  # the start token gives no row
        self.n_heldout = mix.n_heldout_sequences * (self.length - 1)
        n_sequences = (mix.n_train_sequences + mix.n_heldout_sequences) * config.has_models
        self.n_tokens = float(n_sequences * self.length)
        self.row_bytes = self.width * 2 + ROW_TAG_BYTES
        self.stored_bytes = self.row_bytes * CODED_SHARE[dump.codec]
        self.is_dealt = dump.scatter_seed is not None  # to buckets, which are not coded
        self.dumped_bytes = self.row_bytes if self.is_dealt else self.stored_bytes
        self.round_rows = dump.rows_per_round and min(dump.rows_per_round, self.n_train)
        self.n_stored = 0 if self.round_rows else self.n_train
        # Operations per token: of both models up to the hook point, of each on to its losses.
        layer = config.hook_point.layer
        self.lower = sum(s.operations(layer) for s in sizes)
        self.upper = [s.operations(s.n_layers - layer, n_heads=1) for s in sizes]

    def stages(self) -> dict[str, Needs]:
        """Every stage that the experiment has, in the order of the graph."""
        c, n_more, n_tokens = self.config, self.config.seeds.n_runs - 1, self.n_tokens
        found = {
            "models": self.models(),
            "mix": Needs(start=1.5, text=n_tokens, disk=TOKEN_BYTES * n_tokens, memory=TEXT_BYTES),
            "dump": self.dump(),
            "shuffle": self.shuffle(),
            "train": self.train(),
            # Rows are encoded and decoded; per model six patches (`evaluation.splice.PATCHES`).
            "evaluate": self.coded(c.evaluate, 2) + self.spliced(c.evaluate, base=6, it=6),
            # For nu, for moments and counts elsewhere, and for what the models write; products over
            # the active pairs together cost about as much as two encodings more.
            "latent_scaling": Needs(start=LOADING) + self.coded(c.latent_scaling, 5),
            "relative_norm": Needs(start=DRAWING),
            "decoder_cosine": Needs(start=DRAWING),
            "changes": self.changes(),
            # Eight patches and seven sets of latents; random ones beside four of these.
            "causal": self.spliced(c.causal, it=1 + 8 + 7 + 4 * c.causal.n_draws),
            "parting": self.parting(),
            "baselines": self.baselines(),
            "organism": self.organism(),
            "steering": self.steering(),
            "dashboards": self.dashboards(),
            "explain": self.explain(),
        }
        if n_more > 0 and c.crosscoder.kind != "pretrained":
            scaled = self.coded(c.latent_scaling, 5 * n_more)
            found |= {"seed_runs": self.train(n_more), "seeds": Needs(start=LOADING) + scaled}
        if c.plant is not None:
            found["recovery"] = Needs(start=1.2)
        found |= {"layers": Needs(start=READING), "report": Needs(start=3.0)}
        without = {"organism"} if c.planted_source is None else set[str]()
        without |= set() if c.has_models else NEED_MODELS
        return {name: needs for name, needs in found.items() if name not in without}

    # What several stages share.

    def weight_bytes(self, layer: int | None = None) -> float:
        """Of both models up to a layer, or whole."""
        n = sum(s.n_embedding_parameters for s in self.sizes)
        for size in self.sizes:
            n += size.n_block_parameters * (size.n_layers if layer is None else layer)
        return float(n * BYTES[self.config.hook_point.dtype])

    def spliced_bytes(self, batch_sequences: int = 1) -> float:
        """Of models that go on from patched streams: both whole models, the crosscoder, some
        streams of a batch, and latents or logits."""
        streams = STREAMS * 4.0 * batch_sequences * self.length * self.d_model
        largest = max(LATENT_BYTES, self.config.runtime.logits_bytes)
        return self.weight_bytes() + 4 * self.dictionary + streams + largest

    def spliced(self, section: Any, base: float = 0, it: float = 0) -> Needs:
        """Of the lower blocks of both models once, and the upper ones of each so many times.

        section: says on how many sequences, and how many at once
        """
        if not self.config.has_models:
            return Needs(start=LOADING)
        operations = self.lower + base * self.upper[0] + it * self.upper[1]
        forward = float(section.n_sequences * self.length) * operations
        memory = self.spliced_bytes(section.batch_sequences)
        return Needs(start=LOADING, forward=forward, memory=memory)

    def read(self, n_rows: float, memory: float) -> Needs:
        """Of so many training rows, by a reader that takes some memory. In rounds they are made:
        models beside the reader, passes over the tokens, rows written to buckets, read, written in
        order and read."""
        moved = 2.0 * n_rows * self.width
        if not self.round_rows:
            return Needs(byte=moved, memory=memory)
        moved += n_rows * (2 * self.row_bytes + self.stored_bytes)
        memory += self.weight_bytes(self.config.hook_point.layer)
        scratch = self.rows_on_disk(n_rows) * self.row_bytes
        return Needs(forward=n_rows * self.lower, byte=moved, scratch=scratch, memory=memory)

    def rows_on_disk(self, n_rows: float) -> float:
        """Most of the rows on disk at a time where they are made in rounds: two rounds, and files
        of buckets that are not gone yet though their rows are in order. Each process has one in
        hand, and one lies wherever the rows of a process end and those of the next one begin."""
        held = min(self.round_rows or n_rows, n_rows)
        permutation = Permutation(0, int(held))
        file_rows = permutation.bucket_rows * -(-permutation.n_buckets // MAX_FILES)
        return min(2 * held, n_rows) + min((2 * self.n_processes - 1) * file_rows, held)

    def coded(self, section: Any, times: float) -> Needs:
        """Of as many held-out rows as a section says, or all, encoded so many times."""
        memory = 8 * self.dictionary + 12.0 * section.batch_rows * self.n_latents
        encode = times * min(section.n_rows, self.n_heldout) * self.dictionary
        return Needs(encode=encode, memory=memory)

    # The stages.

    def models(self) -> Needs:
        needs = Needs(start=LOADING)
        for name, size in zip(MODELS, self.sizes, strict=True):
            spec, n = getattr(self.config.models, name), float(size.n_parameters)
            if isinstance(spec, HubModel):
                needs += Needs(disk=2 * n)
            elif isinstance(spec, TrainedModel | TunedModel):
                # A twin is tuned as the IT model is, and so costs the same.
                n_made = 1 + (name == "it" and isinstance(self.config.models.twin, TwinModel))
                length = spec.sequence_length_tokens
                n_tokens = float(n_made * spec.n_steps * spec.batch_sequences * length)
                forward = 3 * n_tokens * size.operations(size.n_layers, n_heads=1)
                memory = 18 * n + 12 * spec.micro_batch_sequences * length * size.vocab_size
                needs += Needs(disk=4 * n_made * n, forward=forward, memory=memory)
        return needs

    def dump(self) -> Needs:
        config, layers = self.config, self.config.hook_point.all_layers
        train = self.n_stored * self.dumped_bytes
        written = (train + self.n_heldout * self.stored_bytes) * len(layers)
        dropped = train * config.runtime.drop_unshuffled
        operations = sum(s.operations(layers[-1]) for s in self.sizes)
        work = Needs(forward=(self.n_stored + self.n_heldout) * operations, byte=written)
        memory = 32.0 * config.dump.batch_tokens * self.d_model * len(layers)
        memory += self.weight_bytes(layers[-1]) + config.shuffle.memory_bytes * self.is_dealt
        return work + Needs(start=LOADING, disk=written - dropped, scratch=dropped, memory=memory)

    def shuffle(self) -> Needs:
        memory = self.config.shuffle.memory_bytes - INTERPRETER_BYTES / 2
        if self.round_rows:  # training does it, with as much memory of the host
            return Needs(memory=memory)
        store, dumped = (self.n_train * n for n in (self.stored_bytes, self.dumped_bytes))
        # Two passes write every row to a bucket and read it again, uncoded, unless all fit memory.
        buckets = float(self.n_train * self.row_bytes)
        buckets *= not self.is_dealt and buckets >= memory
        # Beside the result: the two passes' buckets, and the dumped rows where they go in the end.
        scratch = buckets + dumped * self.config.runtime.drop_unshuffled
        moved = dumped + 2 * buckets + store
        return Needs(start=WITHOUT_TORCH, byte=moved, disk=store, scratch=scratch, memory=memory)

    def train(self, n_runs: int = 1) -> Needs:
        train, weights = self.config.train, 4 * self.dictionary
        n_rows = n_runs * (train.n_rows or self.n_train)
        if self.config.crosscoder.kind == "pretrained":  # its factors are measured
            n_rows = min(train.normalisation_rows or self.n_train, self.round_rows or self.n_train)
        # Weights, gradient and moments; two checkpoints hold both moments.
        memory = 4 * weights + 12.0 * train.batch_rows * self.n_latents
        own = Needs(step=n_rows, disk=n_runs * weights, scratch=6 * weights)
        return own + self.read(n_rows, memory)

    def changes(self) -> Needs:
        section, n_draws = self.config.changes, self.config.causal.n_draws
        climbed = section.n_find_rows * section.n_starts * section.n_iterations
        lines = min(section.n_rows, self.n_heldout) * (1 + section.max_lines)
        each = 4.0 * self.d_model * section.max_changes
        found = Needs(climb=each * climbed, encode=each * lines)
        memory = 4.0 * section.n_find_rows * self.width
        found += self.read(self.round_rows or section.n_find_rows, memory)
        weighed = self.spliced(self.config.causal, it=2 + section.n_causal * (2 + n_draws))
        return found + self.coded(section, 1) + weighed

    def parting(self) -> Needs:
        section, it = self.config.parting, self.sizes[1]
        # A listed token has half a sequence before it on average; a gradient costs three passes.
        n_passes = 3 * section.path_points + 3 + 2 * (section.n_changes + section.n_latents)
        n_listed = section.n_tokens * len(self.config.source_names) * self.length / 2
        kept = STREAMS * BYTES[self.config.hook_point.dtype] * self.length * it.d_model
        memory = kept * (it.n_layers - self.config.hook_point.layer)
        memory += self.spliced_bytes(section.batch_sequences)
        listed = Needs(forward=n_listed * n_passes * self.upper[1], memory=memory)
        return listed + self.spliced(section, base=1, it=1)

    def baselines(self) -> Needs:
        section, train = self.config.baselines, self.config.train
        n_rows = section.n_train_rows or train.n_rows or self.n_train
        weights = 8.0 * self.d_model * section.diff_sae.n_latents
        memory = 4 * weights + 12.0 * train.batch_rows * section.diff_sae.n_latents
        # Means of the first round, and then all that the diff-SAE needs, from its start.
        own = self.read((self.round_rows or section.n_rows) + n_rows, memory)
        own += Needs(diff_step=n_rows, disk=weights, scratch=6 * weights)
        n_first = section.positions.n_documents * (section.positions.n_positions + 1.0)
        own += self.coded(section, 3) + Needs(forward=n_first * self.lower)
        return own + self.spliced(self.config.causal, it=1 + 4)  # four patches

    def organism(self) -> Needs:
        section = self.config.organism
        # Five sets of latents, in both models and off, and two controls by draws; for each factor
        # of steering three sets both ways, each with five draws.
        n_passes = 5 * (3 + 2 * section.n_draws) + 3 * 2 * (1 + 5) * len(section.steer_factors)
        n_tokens = section.n_prompts * (section.max_prompt_tokens + section.n_greedy_tokens)
        measured = Needs(start=LOADING, forward=n_tokens * n_passes * self.upper[1])
        return measured + self.coded(section, 1) + Needs(memory=self.spliced_bytes())

    def steering(self) -> Needs:
        config, section = self.config, self.config.steering
        # Each change in three ways; every condition has a random twin, and there is one without.
        n_conditions = 3 * section.n_changes * len(section.change_factors)
        n_conditions += config.baselines.positions.n_positions * len(section.position_factors)
        n_conditions = 1 + 2 * n_conditions
        n_prompts = len(section.questions) + len(section.beginnings)
        n_texts = float(n_prompts * n_conditions * (1 + section.n_samples))  # one is greedy
        # Either model writes while the other reads along up to the hook point.
        operations = self.lower + sum(s.operations(s.n_layers, n_heads=1) for s in self.sizes)
        write, forward = (n_texts * n * operations for n in (section.n_tokens, PROMPT_TOKENS))
        if config.planted_source:
            planted = section.n_planted * config.organism.max_prompt_tokens * n_conditions
            forward += 4 * planted * self.upper[1]
        memory = self.spliced_bytes()
        return Needs(start=LOADING, forward=forward, write=write, memory=memory)

    def dashboards(self) -> Needs:
        section = self.config.dashboards
        chosen = min(section.n_latents, self.n_latents or section.n_latents)
        # Of each model the embeddings and one block, in float32; plain Python writes the examples.
        heads = sum(4.0 * (s.n_embedding_parameters + s.n_block_parameters) for s in self.sizes)
        memory = heads + self.config.runtime.logits_bytes
        written = Needs(start=LOADING + chosen / 1024, disk=chosen * 2_000.0, memory=memory)
        return self.coded(section, 2) + written

    def explain(self) -> Needs:
        writer = self.config.explain.writer
        told = configuration_of(self.config.models, writer) if writer.kind == "local" else None
        if told is None:  # nobody is asked, or an endpoint, whose speed nobody here knows
            return Needs()
        size, (_, n_read, n_written) = size_from(told), tokens_asked(self.config.explain)
        forward = n_read * size.operations(size.n_layers)
        write = n_written * size.operations(size.n_layers, n_heads=1)
        return Needs(forward=forward, write=write, memory=4.0 * size.n_parameters)
