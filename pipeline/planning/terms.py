"""What each stage of an experiment needs: a table of terms, bytes and units of work of each kind,
which `Rates` turn into seconds. The disk works beside the processor, so the longer of both counts.

A dictionary of L latents over rows of `width` numbers encodes a row with 2 x width x L operations.
What follows from its active latents alone is small beside that. `code`, `compose` and
`local_files` need next to nothing and have no line.
"""

from collections.abc import Iterator, Sequence

from pipeline.config import Config
from pipeline.config.models import HubModel, LocalModel, TwinModel
from pipeline.labels import MODELS
from pipeline.planning.cost import StageCost
from pipeline.planning.dictionary import n_latents_of
from pipeline.planning.machine import Machine
from pipeline.planning.model_size import (
    ModelSize,
    configuration_of_spec,
    size_from_config,
    sizes_of,
    trained_models,
)
from pipeline.planning.rates import Rates, arithmetic
from pipeline.shuffle.geometry import MAX_FILES
from pipeline.shuffle.permutation import Permutation

BYTES = {"bfloat16": 2, "float32": 4}
ROW_TAG_BYTES = 4 * 4 + 2  # token id, position, document, sequence; source, class
TOKEN_BYTES = 4 + 4 + 1 + 1  # token id, document, source, class
CODED_SHARE = {"none": 1.0, "zstd": 0.79, "blosc_lz4": 0.83}
"""What a codec leaves of real activations (docs/performance.md, "Codecs")."""
INTERPRETER_BYTES = 600 * 10**6
LATENT_BYTES = 3 * 2**28
"""What encoding takes at most where it goes on in pieces (`analysis.splicing.MAX_ELEMENTS`)."""
STREAMS = 32
"""Arrays as wide as the residual stream in a pass of a block, its MLP counted as so many."""
SPLICES = 6
"""Passes of the upper blocks per model in `evaluate` (`analysis.evaluation.splice.PATCHES`)."""
CAUSAL_PATCHES, MATCHED_SETS, BASELINE_PATCHES = 8 + 7, 4, 4
"""Patches of `causal`, sets of latents included; sets with random ones beside them."""
ORGANISM_SETS, ORGANISM_CONTROLS, STEERED_SETS, STEERED_DRAWS = 5, 2, 3, 5
DASHBOARD_BYTES = 2_000.0
"""Of a dashboard on disk, packed; measured with `tiny`."""
BLOCK_BYTES = 112
"""Per block of documents and latent, in `latent_scaling`."""
LOADING = 2.0
"""Starts of a stage that runs models: their classes load as much again as torch does."""
CALLS_PER_START = 8_000
"""Small operations from Python in the time of a start: what steering does per text is of that."""
INSTRUCTION_TOKENS = 120
"""Of the fixed part of a request to explain, and of JSON round the excerpts."""
ENDPOINT = "the endpoint that EXPLAIN_BASE_URL names"


def estimate(config: Config, machine: Machine, rates: Rates | None = None) -> list[StageCost]:
    """The cost of every stage, in the order of the graph; empty where a model's size is unknown.

    rates: measured ones; by arithmetic from the machine's where they are left out
    """
    return [] if sizes_of(config) is None else list(terms_of(config, machine, rates).stages())


def terms_of(config: Config, machine: Machine, rates: Rates | None = None) -> "Terms":
    """The table of an experiment whose models' sizes are known."""
    sizes = sizes_of(config)
    assert sizes is not None, "a plan without sizes has no costs"
    n_latents = n_latents_of(config.crosscoder)
    given = rates or arithmetic(config, sizes[0].d_model, n_latents, machine)
    return Terms(config, sizes, given)


class Terms:
    """The sizes that the stages of an experiment share, and a line for each of them."""

    def __init__(self, config: Config, sizes: Sequence[ModelSize], rates: Rates) -> None:
        mix, dump = config.mix, config.dump
        self.config, self.sizes, self.rates = config, sizes, rates
        self.d_model, self.layer = sizes[0].d_model, config.hook_point.layer
        self.width, self.n_latents = len(MODELS) * self.d_model, n_latents_of(config.crosscoder)
        self.dictionary = 2.0 * self.width * self.n_latents
        """Numbers of a crosscoder, and operations that encode a row."""
        per_sequence = mix.sequence_length_tokens - 1  # the start token gives no row
        self.n_train = mix.n_train_sequences * per_sequence
        self.n_heldout = mix.n_heldout_sequences * per_sequence
        self.row_bytes = self.width * 2 + ROW_TAG_BYTES
        self.stored_bytes = self.row_bytes * CODED_SHARE[dump.codec]
        # Rows dealt to buckets are not coded.
        dealt = dump.scatter_seed is not None
        self.dumped_bytes = self.row_bytes if dealt else self.stored_bytes
        self.round_rows = dump.rows_per_round and min(dump.rows_per_round, self.n_train)
        self.lower_bytes = self.lower_bytes_to(self.layer)

    def stages(self) -> Iterator[StageCost]:
        """Every stage that the experiment has."""
        yield from (self.models(), self.mix(), self.dump(), self.shuffle(), self.train())
        yield from (self.evaluate(), self.latent_scaling())
        yield from (self.cost("relative_norm"), self.cost("decoder_cosine"))
        yield self.changes()
        if self.config.has_models:
            yield from (self.causal(), self.parting())
        yield self.baselines()
        if self.config.has_models:
            if self.config.planted_source:
                yield self.organism()
            yield from (self.steering(), self.dashboards(), self.explain())
        if self.config.seeds.n_runs > 1 and self.config.crosscoder.kind != "pretrained":
            yield from (self.seed_runs(), self.seeds())
        if self.config.plant is not None:
            yield self.cost("recovery", starts=1.2)
        yield self.cost("layers", starts=0.5)
        yield self.cost("report", starts=3)

    def cost(
        self,
        stage: str,
        *,
        disk: float = 0.0,
        scratch: float = 0.0,
        memory: float = 0.0,
        moved: float = 0.0,
        starts: float = 1.0,
        **work: float,
    ) -> StageCost:
        """A line of the table. moved: bytes; starts: in units of a stage's start, for work of plain
        Python; work: units by the name of their rate"""
        computed = sum(n * getattr(self.rates, kind) for kind, n in work.items())
        seconds = starts * self.rates.start + max(computed, moved * self.rates.byte)
        return StageCost(stage, disk, scratch, INTERPRETER_BYTES + memory, seconds)

    # Terms that several stages share.

    def lower(self, n_tokens: float, layer: int | None = None) -> float:
        """Operations of both models up to a layer, that of the hook point where none is given."""
        of_layer = self.layer if layer is None else layer
        return n_tokens * sum(size.flops_per_token(of_layer) for size in self.sizes)

    def lower_bytes_to(self, layer: int) -> float:
        """Weights of both models up to a layer."""
        parts = (layer * s.n_block_parameters + s.n_embedding_parameters for s in self.sizes)
        return float(BYTES[self.config.hook_point.dtype] * sum(parts))

    def upper(self, n_tokens: float, model: int = 1) -> dict[str, float]:
        """Work of one model from the hook point to its losses."""
        size = self.sizes[model]
        blocks = size.flops_per_token(size.n_layers - self.layer)
        return {"forward": n_tokens * blocks, "head": n_tokens * size.head_flops_per_token}

    def patched(self, n_sequences: int, n_patches: float) -> dict[str, float]:
        """Work of a causal test: the lower blocks of both models once, the upper ones of the IT
        model for each patch and for its own activation; the latents of the tokens."""
        n_tokens = float(n_sequences * self.config.mix.sequence_length_tokens)
        work = self.upper(n_tokens * (n_patches + 1))
        work["forward"] += self.lower(n_tokens)
        return work | {"encode": n_tokens * self.dictionary}

    def heldout(self, n_rows: int) -> int:
        return min(n_rows, self.n_heldout)

    def spliced_bytes(self, batch_sequences: int) -> float:
        """Models that go on from patched streams: both whole models, the crosscoder, some streams
        of a batch, and its latents or what logits may take."""
        n_rows = batch_sequences * self.config.mix.sequence_length_tokens
        weights = sum(BYTES[self.config.hook_point.dtype] * s.n_parameters for s in self.sizes)
        latents = min(3 * 4.0 * n_rows * self.n_latents, LATENT_BYTES)
        streams = STREAMS * 4.0 * n_rows * self.d_model
        return (
            weights
            + 4.0 * self.dictionary
            + streams
            + max(latents, self.config.runtime.logits_bytes)
        )

    def store_bytes(self) -> float:
        """Both activation stores and the shuffled one, as DVC would hash them."""
        n_train = 0 if self.round_rows else self.n_train
        kept = (n_train + self.n_heldout) * self.stored_bytes
        return kept + n_train * self.dumped_bytes

    def made(self, n_rows: float) -> dict[str, float]:
        """What a stage needs more that makes `n_rows` training rows in rounds: models beside it,
        passes over the tokens, rows written to buckets, read, written in order and read."""
        if not self.round_rows:
            return {"moved": 2.0 * n_rows * self.width}
        held = rows_on_disk(self.round_rows, n_rows) * self.row_bytes
        moved = n_rows * (2 * self.row_bytes + self.stored_bytes + 2.0 * self.width)
        work = {"forward": self.lower(n_rows), "moved": moved}
        return work | {"scratch": held, "memory": self.lower_bytes}

    # The stages, in the order of the graph.

    def models(self) -> StageCost:
        disk = memory = flops = 0.0
        size_of: dict[str, ModelSize] = dict(zip(MODELS, self.sizes, strict=True))
        for name, spec in trained_models(self.config):
            size, length = size_of[name], spec.sequence_length_tokens
            # A twin is tuned as the IT model is, and so costs the same.
            n_made = 1 + (name == "it" and isinstance(self.config.models.twin, TwinModel))
            n_tokens = n_made * spec.n_steps * spec.batch_sequences * length
            per_token = size.flops_per_token(size.n_layers) + size.head_flops_per_token
            flops += 3.0 * per_token * n_tokens
            disk += 4.0 * n_made * size.n_parameters
            logits = 3 * 4.0 * spec.micro_batch_sequences * length * size.vocab_size
            memory = max(memory, 18.0 * size.n_parameters + logits)
        hub = (n for n in MODELS if isinstance(getattr(self.config.models, n), HubModel))
        disk += sum(2.0 * size_of[name].n_parameters for name in hub)
        return self.cost("models", disk=disk, memory=memory, fit=flops, starts=LOADING)

    def mix(self) -> StageCost:
        mix = self.config.mix
        n_tokens = (mix.n_train_sequences + mix.n_heldout_sequences) * mix.sequence_length_tokens
        n_tokens *= self.config.has_models
        return self.cost(
            "mix",
            disk=n_tokens * TOKEN_BYTES,
            memory=INTERPRETER_BYTES,
            text=n_tokens,
            starts=1.5,
        )

    def dump(self) -> StageCost:
        n_rows = 0 if self.round_rows else self.n_train
        trained_on = n_rows * self.dumped_bytes
        layers = self.config.hook_point.all_layers
        disk = (trained_on + self.n_heldout * self.stored_bytes) * len(layers)
        dropped = trained_on if self.config.runtime.drop_unshuffled else 0.0
        memory = self.lower_bytes_to(layers[-1])
        memory += 8.0 * self.config.dump.batch_tokens * self.d_model * 4 * len(layers)
        memory += self.config.shuffle.memory_bytes * (self.config.dump.scatter_seed is not None)
        return self.cost(
            "dump",
            disk=disk - dropped,
            scratch=dropped,
            memory=memory,
            moved=disk,
            forward=self.lower(n_rows + self.n_heldout, layers[-1]),
            starts=LOADING,
        )

    def shuffle(self) -> StageCost:
        # In rounds training does it, with as much memory of the host.
        memory = self.config.shuffle.memory_bytes - INTERPRETER_BYTES / 2
        if self.round_rows:
            return self.cost("shuffle", memory=memory)
        store, dumped = self.n_train * self.stored_bytes, self.n_train * self.dumped_bytes
        # Two passes write every row to a bucket and read it again, uncoded, unless all fit memory.
        buckets = float(self.n_train * self.row_bytes)
        if self.config.dump.scatter_seed is not None or buckets < memory:
            buckets = 0.0
        # Beside the result: the two passes' buckets, and the dumped rows where they go in the end.
        scratch = buckets + (dumped if self.config.runtime.drop_unshuffled else 0.0)
        moved = dumped + 2 * buckets + store
        return self.cost(
            "shuffle", disk=store, scratch=scratch, memory=memory, moved=moved, starts=0.5
        )

    def train(self, n_runs: int = 1, stage: str = "train") -> StageCost:
        train, weights = self.config.train, 4.0 * self.dictionary
        if self.config.crosscoder.kind == "pretrained":  # read, its factors measured, written
            n_rows = min(train.normalisation_rows or self.n_train, self.round_rows or self.n_train)
            moved = 2.0 * weights + 2.0 * n_rows * self.width
            more = self.made(n_rows) | {"moved": moved}
            return self._with(more, stage, disk=weights, scratch=weights, memory=2 * weights)
        n_rows = train.n_rows or self.n_train
        return self._with(
            self.made(n_rows * n_runs),
            stage,
            disk=n_runs * weights,
            scratch=2 * 3 * weights,  # two checkpoints with both moments
            memory=4 * weights + 3 * 4.0 * train.batch_rows * self.n_latents,
            step=n_runs * n_rows,
        )

    def _with(self, more: dict[str, float], stage: str, **own: float) -> StageCost:
        """A line whose terms are two sums."""
        return self.cost(stage, **{n: own.get(n, 0.0) + more.get(n, 0.0) for n in own | more})

    def evaluate(self) -> StageCost:
        section, work = self.config.evaluate, {}
        memory = 3 * 4.0 * section.batch_rows * self.n_latents + 4.0 * self.dictionary
        if self.config.has_models:
            n_tokens = float(section.n_sequences * self.config.mix.sequence_length_tokens)
            both = [self.upper(SPLICES * n_tokens, model) for model in range(len(MODELS))]
            work = {kind: sum(each[kind] for each in both) for kind in both[0]}
            work["forward"] += self.lower(n_tokens)
            memory = max(memory, self.spliced_bytes(section.batch_sequences))
        n_rows = 2 * self.heldout(section.n_rows)  # encoded and decoded
        work["encode"] = n_rows * self.dictionary
        return self.cost("evaluate", memory=memory, starts=LOADING, **work)

    def latent_scaling(self, n_runs: int = 1, stage: str = "latent_scaling") -> StageCost:
        section = self.config.latent_scaling
        n_rows, n_covariances = self.heldout(section.n_rows), 2 * len(MODELS)
        # Of nu, of the moments and counts elsewhere, and of what the models write; each with
        # products over the active pairs, which together cost about one encoding more.
        flops = 5 * self.dictionary + 2.0 * n_covariances * self.d_model**2
        memory = float(BLOCK_BYTES) * section.n_blocks * self.n_latents
        memory += 2 * 4.0 * section.batch_rows * self.n_latents + 2 * 4.0 * self.dictionary
        memory += 2 * 8.0 * n_covariances * self.d_model**2
        return self.cost(stage, memory=memory, encode=n_runs * n_rows * flops, starts=2)

    def changes(self) -> StageCost:
        section, causal = self.config.changes, self.config.causal
        climbed = section.n_find_rows * section.n_starts * section.n_iterations
        flops = 2.0 * 2 * self.d_model * section.max_changes * climbed
        n_rows = self.heldout(section.n_rows)
        coded = 2.0 * (1 + section.max_lines) * self.d_model * section.max_changes
        flops += n_rows * (self.dictionary + 2 * coded)
        work, memory = {}, 4.0 * section.n_find_rows * 2 * self.d_model
        if self.config.has_models:
            work = self.patched(causal.n_sequences, 1 + section.n_causal * (2 + causal.n_draws))
            memory = max(memory, self.spliced_bytes(causal.batch_sequences))
        made = self.made(self.round_rows or section.n_find_rows)
        work["encode"] = work.get("encode", 0.0) + flops
        return self._with(made, "changes", memory=memory, starts=LOADING, **work)

    def causal(self) -> StageCost:
        section = self.config.causal
        n_patches = CAUSAL_PATCHES + MATCHED_SETS * section.n_draws
        work = self.patched(section.n_sequences, n_patches)
        memory = self.spliced_bytes(section.batch_sequences)
        return self.cost("causal", memory=memory, starts=LOADING, **work)

    def parting(self) -> StageCost:
        section, it = self.config.parting, self.sizes[1]
        length = self.config.mix.sequence_length_tokens
        n_tokens = float(section.n_sequences * length)
        both = [self.upper(n_tokens, model) for model in range(len(MODELS))]
        work = {kind: sum(each[kind] for each in both) for kind in both[0]}
        # A listed token has a whole sequence before it at most; a gradient costs three passes.
        n_listed = float(section.n_tokens * len(self.config.source_names) * length)
        n_passes = 3 * section.path_points + 3 + 2 * (section.n_changes + section.n_latents)
        work["forward"] += self.lower(n_tokens) + n_passes * self.upper(n_listed)["forward"]
        work["encode"] = n_listed * (2 + section.n_latents) * self.dictionary
        n_upper = it.n_layers - self.layer
        kept = float(STREAMS * BYTES[self.config.hook_point.dtype] * length * it.d_model * n_upper)
        memory = self.spliced_bytes(section.batch_sequences) + kept
        return self.cost("parting", memory=memory, starts=LOADING, **work)

    def baselines(self) -> StageCost:
        section, train, causal = self.config.baselines, self.config.train, self.config.causal
        n_latents = section.diff_sae.n_latents
        n_rows = section.n_train_rows or train.n_rows or self.n_train
        weights = 4.0 * 2 * self.d_model * n_latents
        work, memory = {}, 4 * weights + 3 * 4.0 * train.batch_rows * n_latents
        if self.config.has_models:
            work = self.patched(causal.n_sequences, BASELINE_PATCHES)
            positions = section.positions
            work["forward"] += self.lower(positions.n_documents * (positions.n_positions + 1.0))
            memory = max(memory, self.spliced_bytes(causal.batch_sequences))
        encoded = self.heldout(section.n_rows) * 2 * (self.dictionary + weights / 4)
        work["encode"] = work.get("encode", 0.0) + encoded
        # Means of the first round, and then all that the diff-SAE needs, from its start.
        made = self.made((self.round_rows or section.n_rows) + n_rows)
        own = {"disk": weights, "scratch": 6 * weights, "memory": memory, "diff_step": n_rows}
        return self._with(made, "baselines", starts=LOADING, **own, **work)

    def organism(self) -> StageCost:
        section = self.config.organism
        measured = ORGANISM_SETS * (len(MODELS) + 1 + ORGANISM_CONTROLS * section.n_draws)
        measured += 2 * STEERED_SETS * len(section.steer_factors) * (1 + STEERED_DRAWS)
        n_tokens = section.n_prompts * (section.max_prompt_tokens + section.n_greedy_tokens)
        work = self.upper(float(n_tokens * measured))
        work["encode"] = self.heldout(section.n_rows) * self.dictionary
        return self.cost("organism", memory=self.spliced_bytes(1), starts=LOADING, **work)

    def steering(self) -> StageCost:
        section, changes = self.config.steering, self.config.changes
        positions = self.config.baselines.positions.n_positions
        n_conditions = section.n_changes * len(section.change_factors)
        # Each change in three ways; every condition has a random twin.
        n_conditions = 2 * (3 * n_conditions + positions * len(section.position_factors))
        n_texts = (len(section.questions) + len(section.beginnings)) * section.n_samples
        n_tokens = float(n_texts * (1 + n_conditions) * section.n_tokens)
        whole = (s.flops_per_token(s.n_layers) + s.head_flops_per_token for s in self.sizes)
        # Either model writes while the other reads along up to the hook point.
        flops = n_tokens * sum(whole) + self.lower(n_tokens)
        work = {"write": flops, "encode": 2 * n_tokens * 2 * self.d_model * changes.max_changes}
        if self.config.planted_source:
            prompt = self.config.organism.max_prompt_tokens
            planted = 2 * 2.0 * section.n_planted * prompt * (1 + n_conditions)
            work |= self.upper(planted)
        starts = LOADING + 2 * n_tokens / CALLS_PER_START
        return self.cost("steering", memory=self.spliced_bytes(1), starts=starts, **work)

    def dashboards(self) -> StageCost:
        section = self.config.dashboards
        chosen = min(section.n_latents, self.n_latents or section.n_latents)
        window = section.tokens_before + 1 + section.tokens_after
        n_examples = section.n_top + section.n_bands * section.n_per_band
        kept = float(chosen) * (n_examples * (8 * window + 48) + 1024)
        # Of each model the embeddings and one block, in float32; rows come before the heads.
        heads = sum(4.0 * (s.n_embedding_parameters + s.n_block_parameters) for s in self.sizes)
        batch = 16.0 * section.batch_rows * chosen
        return self.cost(
            "dashboards",
            disk=DASHBOARD_BYTES * chosen,
            memory=kept + max(heads + self.config.runtime.logits_bytes, batch),
            encode=2 * self.heldout(section.n_rows) * self.dictionary,
            starts=LOADING + chosen / 1024,  # the text of the examples
        )

    def explain(self) -> StageCost:
        writer = self.config.explain.writer
        told = configuration_of_spec(writer) if isinstance(writer, LocalModel) else None
        if told is None:  # nobody is asked, or an endpoint, whose speed nobody here knows
            return self.cost("explain")
        size = size_from_config(told)
        per_token = size.flops_per_token(size.n_layers)
        _, n_read, n_written = requests(self.config)
        return self.cost(
            "explain",
            memory=4.0 * size.n_parameters,
            forward=n_read * per_token,
            write=n_written * (per_token + size.head_flops_per_token),
        )

    def seed_runs(self) -> StageCost:
        return self.train(self.config.seeds.n_runs - 1, "seed_runs")

    def seeds(self) -> StageCost:
        return self.latent_scaling(self.config.seeds.n_runs - 1, "seeds")


def rows_on_disk(round_rows: int, n_rows: float) -> float:
    """Most training rows on disk: two rounds where there are two, and one file of buckets."""
    held = min(round_rows, n_rows)
    permutation = Permutation(0, int(held))
    buckets = permutation.bucket_rows * -(-permutation.n_buckets // MAX_FILES)
    return held * (1 if held >= n_rows else 2) + min(buckets, held)


def requests(config: Config) -> tuple[int, int, int]:
    """Requests of the sentences that are asked for, at one attempt each; tokens read for them, and
    written."""
    section = config.explain
    n_subjects = section.n_changes + section.n_latents
    excerpt = section.tokens_before + 1 + section.tokens_after
    is_local = isinstance(section.writer, LocalModel)
    judging = INSTRUCTION_TOKENS + section.n_judged * excerpt
    if is_local:  # asked about each excerpt by itself
        judging = section.n_judged * (INSTRUCTION_TOKENS + excerpt)
    read = INSTRUCTION_TOKENS + section.n_shown * excerpt + section.n_lens_tokens + 2 * judging
    written = (1 if is_local else 3) * section.max_answer_tokens
    n_read = min(n_subjects * read, section.max_tokens)
    n_written = min(n_subjects * written, section.max_tokens - n_read)
    return min(3 * n_subjects, section.max_requests), n_read, n_written


def explain_line(config: Config) -> str | None:
    """Whom the stage `explain` asks, and for how much; None where nobody is asked."""
    writer = config.explain.writer
    if writer.kind == "none":
        return None
    asked, n_read, n_written = requests(config)
    whom = writer.path if isinstance(writer, LocalModel) else ENDPOINT
    return (
        f"explain: about {asked:,} requests and at most about {n_read + n_written:,} tokens, "
        f"asked of {whom}"
    )
