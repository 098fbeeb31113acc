"""What each stage of an experiment needs: bytes, and units of work of the kinds in `Rates`. The
disk works beside the processor, so the longer of both counts.

A dictionary of L latents over rows of `width` numbers encodes a row with 2 x width x L operations.
What follows from its active latents alone is small beside that. `code`, `compose` and
`local_files` need next to nothing and have no line.
"""

from dataclasses import dataclass, fields

from pipeline.analysis.explain.asked import tokens_asked
from pipeline.config import Config
from pipeline.config.models import HubModel, TwinModel
from pipeline.labels import MODELS
from pipeline.planning.rates import Rates
from pipeline.planning.sizes import (
    configuration_of,
    n_latents_of,
    size_from,
    sizes_of,
    trained_models,
)
from pipeline.shuffle.geometry import MAX_FILES
from pipeline.shuffle.permutation import Permutation

Needs = dict[str, float]
"""disk, scratch, memory and moved in bytes; starts, in units of a stage's start, one where nothing
is said, for work of plain Python; other keys are units of the rate of that name."""

BYTES = {"bfloat16": 2, "float32": 4}
ROW_TAG_BYTES = 4 * 4 + 2  # token id, position, document, sequence; source, class
TOKEN_BYTES = 4 + 4 + 1 + 1  # token id, document, source, class
CODED_SHARE = {"none": 1.0, "zstd": 0.79, "blosc_lz4": 0.83}
"""What a codec leaves of real activations (docs/performance.md, "Codecs")."""
INTERPRETER_BYTES = 600e6
LATENT_BYTES = 3 * 2**28
"""What encoding takes at most where it goes on in pieces (`analysis.splicing.MAX_ELEMENTS`)."""
STREAMS = 32
"""Arrays as wide as the residual stream in a pass of a block, its MLP counted as so many."""
SPLICES = 6
"""Passes of the upper blocks per model in `evaluate` (`analysis.evaluation.splice.PATCHES`)."""
CAUSAL_PATCHES, MATCHED_SETS, BASELINE_PATCHES = 8 + 7, 4, 4
"""Patches of `causal`, sets of latents included; sets with random ones beside them."""
ORGANISM_SETS, ORGANISM_CONTROLS, STEERED_SETS, STEERED_DRAWS = 5, 2, 3, 5
LOADING = 2.0
"""Starts of a stage that runs models: their classes load as much again as torch does."""
CALLS_PER_START = 8_000
"""Small operations from Python in the time of a start: what steering does per text is of that."""


@dataclass(frozen=True)
class StageCost:
    """disk: bytes left behind; scratch: bytes used meanwhile; memory: peak bytes; rough seconds."""

    stage: str
    disk_bytes: float
    scratch_bytes: float
    memory_bytes: float
    seconds: float


def estimate(config: Config, rates: Rates) -> list[StageCost]:
    """The cost of every stage, in the order of the graph; empty where a model's size is unknown."""
    if sizes_of(config) is None:
        return []
    return [priced(name, needs, rates) for name, needs in Terms(config).stages().items()]


def priced(stage: str, needs: Needs, rates: Rates) -> StageCost:
    work = [f.name for f in fields(Rates) if f.name not in ("start", "byte")]
    seconds = sum(needs.get(kind, 0.0) * getattr(rates, kind) for kind in work)
    seconds = max(seconds, needs.get("moved", 0.0) * rates.byte)
    seconds += needs.get("starts", 1.0) * rates.start
    disk, scratch, memory = (needs.get(name, 0.0) for name in ("disk", "scratch", "memory"))
    return StageCost(stage, disk, scratch, INTERPRETER_BYTES + memory, seconds)


def added(*parts: Needs) -> Needs:
    """Needs that add up, memory and starts too."""
    names = {name for part in parts for name in part}
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


class Terms:
    """The sizes that the stages of an experiment share, and what each of them needs."""

    def __init__(self, config: Config) -> None:
        sizes, mix, dump = sizes_of(config), config.mix, config.dump
        assert sizes is not None, "a plan without sizes has no costs"
        self.config, self.sizes, self.layer = config, sizes, config.hook_point.layer
        self.d_model, self.n_latents = sizes[0].d_model, n_latents_of(config.crosscoder)
        self.width, self.length = len(MODELS) * self.d_model, mix.sequence_length_tokens
        self.dictionary = 2.0 * self.width * self.n_latents
        """Numbers of a crosscoder, and operations that encode a row."""
        self.n_train = mix.n_train_sequences * (self.length - 1)  # the start token gives no row
        self.n_heldout = mix.n_heldout_sequences * (self.length - 1)
        self.row_bytes = self.width * 2 + ROW_TAG_BYTES
        self.stored_bytes = self.row_bytes * CODED_SHARE[dump.codec]
        self.is_dealt = dump.scatter_seed is not None  # to buckets, which are not coded
        self.dumped_bytes = self.row_bytes if self.is_dealt else self.stored_bytes
        self.round_rows = dump.rows_per_round and min(dump.rows_per_round, self.n_train)
        self.lower = sum(s.operations(self.layer) for s in sizes)
        self.upper = [s.operations(s.n_layers - self.layer, n_heads=1) for s in sizes]
        """Operations per token: of both models up to the hook point, of each from there to its
        losses."""

    def stages(self) -> dict[str, Needs]:
        """Every stage that the experiment has, in the order of the graph."""
        config, further = self.config, self.config.seeds.n_runs - 1
        found = {"models": self.models(), "mix": self.mix(), "dump": self.dump()}
        found |= {"shuffle": self.shuffle(), "train": self.train(), "evaluate": self.evaluate()}
        found |= {"latent_scaling": self.latent_scaling(), "relative_norm": {}}
        found |= {"decoder_cosine": {}, "changes": self.changes()}
        if config.has_models:
            found |= {"causal": self.causal(), "parting": self.parting()}
        found["baselines"] = self.baselines()
        if config.planted_source and config.has_models:
            found["organism"] = self.organism()
        if config.has_models:
            found |= {"steering": self.steering(), "dashboards": self.dashboards()}
            found["explain"] = self.explain()
        if further > 0 and config.crosscoder.kind != "pretrained":
            found |= {"seed_runs": self.train(further), "seeds": self.latent_scaling(further)}
        if config.plant is not None:
            found["recovery"] = {"starts": 1.2}
        return found | {"layers": {"starts": 0.5}, "report": {"starts": 3.0}}

    # What several stages share.

    def weight_bytes(self, layer: int | None = None) -> float:
        """Of both models up to a layer, or whole."""
        n_blocks = (s.n_layers if layer is None else layer for s in self.sizes)
        counts = (
            s.n_embedding_parameters + n * s.n_block_parameters
            for s, n in zip(self.sizes, n_blocks, strict=True)
        )
        return float(BYTES[self.config.hook_point.dtype] * sum(counts))

    def spliced(self, batch_sequences: int, **work: float) -> Needs:
        """Needs of models that go on from patched streams: both whole models, the crosscoder, some
        streams of a batch, and its latents or what logits may take."""
        n_rows = batch_sequences * self.length
        latents = min(3 * 4.0 * n_rows * self.n_latents, LATENT_BYTES)
        memory = self.weight_bytes() + 4.0 * self.dictionary + STREAMS * 4.0 * n_rows * self.d_model
        memory += max(latents, self.config.runtime.logits_bytes)
        return {"memory": memory, "starts": LOADING, **work}

    def patched(self, n_patches: float) -> Needs:
        """Needs of a causal test: the lower blocks of both models once, the upper ones of the IT
        model for each patch and for its own activation; the latents of the tokens."""
        section = self.config.causal
        n_tokens = float(section.n_sequences * self.length)
        forward = n_tokens * (self.lower + (n_patches + 1) * self.upper[1])
        encode = n_tokens * self.dictionary
        return self.spliced(section.batch_sequences, forward=forward, encode=encode)

    def made(self, n_rows: float) -> Needs:
        """Of a stage that reads so many training rows, and in rounds makes them: models beside it,
        passes over the tokens, rows written to buckets, read, written in order and read."""
        if not self.round_rows:
            return {"moved": 2.0 * n_rows * self.width}
        return {
            "forward": n_rows * self.lower,
            "moved": n_rows * (2 * self.row_bytes + self.stored_bytes + 2.0 * self.width),
            "scratch": rows_on_disk(self.round_rows, n_rows) * self.row_bytes,
            "memory": self.weight_bytes(self.layer),
        }

    def encoded(self, n_rows: int) -> float:
        """Operations that encode so many held-out rows, or all."""
        return min(n_rows, self.n_heldout) * self.dictionary

    def store_bytes(self) -> float:
        """Both activation stores and the shuffled one, as DVC would hash them."""
        n_train = 0 if self.round_rows else self.n_train
        kept = (n_train + self.n_heldout) * self.stored_bytes
        return kept + n_train * self.dumped_bytes

    # The stages.

    def models(self) -> Needs:
        config, disk, memory, forward = self.config, 0.0, 0.0, 0.0
        trained = trained_models(config)
        for name, size in zip(MODELS, self.sizes, strict=True):
            if isinstance(getattr(config.models, name), HubModel):
                disk += 2.0 * size.n_parameters
            if spec := trained.get(name):
                # A twin is tuned as the IT model is, and so costs the same.
                n_made = 1 + (name == "it" and isinstance(config.models.twin, TwinModel))
                n_tokens = spec.batch_sequences * spec.sequence_length_tokens * spec.n_steps
                forward += 3 * n_made * n_tokens * size.operations(size.n_layers, n_heads=1)
                disk += 4.0 * n_made * size.n_parameters
                logits = spec.micro_batch_sequences * spec.sequence_length_tokens * size.vocab_size
                memory = max(memory, 18.0 * size.n_parameters + 3 * 4.0 * logits)
        return {"disk": disk, "memory": memory, "forward": forward, "starts": LOADING}

    def mix(self) -> Needs:
        mix = self.config.mix
        n_sequences = (mix.n_train_sequences + mix.n_heldout_sequences) * self.config.has_models
        disk, text = (n * float(n_sequences * self.length) for n in (TOKEN_BYTES, 1))
        return {"disk": disk, "memory": INTERPRETER_BYTES, "text": text, "starts": 1.5}

    def dump(self) -> Needs:
        config, layers = self.config, self.config.hook_point.all_layers
        n_rows = 0 if self.round_rows else self.n_train
        trained_on = n_rows * self.dumped_bytes
        disk = (trained_on + self.n_heldout * self.stored_bytes) * len(layers)
        dropped = trained_on if config.runtime.drop_unshuffled else 0.0
        memory = 32.0 * config.dump.batch_tokens * self.d_model * len(layers)
        memory += self.weight_bytes(layers[-1]) + config.shuffle.memory_bytes * self.is_dealt
        operations = sum(s.operations(layers[-1]) for s in self.sizes)
        needs = {"disk": disk - dropped, "scratch": dropped, "memory": memory, "moved": disk}
        return needs | {"forward": (n_rows + self.n_heldout) * operations, "starts": LOADING}

    def shuffle(self) -> Needs:
        memory = self.config.shuffle.memory_bytes - INTERPRETER_BYTES / 2
        if self.round_rows:  # training does it, with as much memory of the host
            return {"memory": memory}
        store, dumped = self.n_train * self.stored_bytes, self.n_train * self.dumped_bytes
        # Two passes write every row to a bucket and read it again, uncoded, unless all fit memory.
        buckets = float(self.n_train * self.row_bytes)
        buckets *= not self.is_dealt and buckets >= memory
        # Beside the result: the two passes' buckets, and the dumped rows where they go in the end.
        scratch = buckets + dumped * self.config.runtime.drop_unshuffled
        needs = {"disk": store, "scratch": scratch, "memory": memory, "starts": 0.5}
        return needs | {"moved": dumped + 2 * buckets + store}

    def train(self, n_runs: int = 1) -> Needs:
        train, weights = self.config.train, 4.0 * self.dictionary
        if self.config.crosscoder.kind == "pretrained":  # read, its factors measured, written
            n_rows = min(train.normalisation_rows or self.n_train, self.round_rows or self.n_train)
            own = {"disk": weights, "scratch": weights, "memory": 2 * weights, "moved": 2 * weights}
            return added(self.made(n_rows), own)
        n_rows = n_runs * (train.n_rows or self.n_train)
        memory = 4 * weights + 3 * 4.0 * train.batch_rows * self.n_latents
        # Two checkpoints hold both moments.
        own = {"disk": n_runs * weights, "scratch": 6 * weights, "memory": memory, "step": n_rows}
        return added(self.made(n_rows), own)

    def evaluate(self) -> Needs:
        section, has_models = self.config.evaluate, self.config.has_models
        n_tokens = section.n_sequences * self.length * has_models
        memory = 3 * 4.0 * section.batch_rows * self.n_latents + 4.0 * self.dictionary
        memory = max(memory, self.spliced(section.batch_sequences)["memory"] * has_models)
        forward = n_tokens * (self.lower + SPLICES * sum(self.upper))
        needs = {"memory": memory, "forward": forward, "starts": LOADING}
        return needs | {"encode": 2 * self.encoded(section.n_rows)}  # and decode

    def latent_scaling(self, n_runs: int = 1) -> Needs:
        section, covariances = self.config.latent_scaling, 2.0 * len(MODELS) * self.d_model**2
        memory = (112.0 * section.n_blocks + 8.0 * section.batch_rows) * self.n_latents
        memory += 8.0 * self.dictionary + 16.0 * covariances
        # Of nu, of the moments and counts elsewhere, and of what the models write; each with
        # products over the active pairs, which together cost about one encoding more.
        encode = 5 * self.encoded(section.n_rows)
        encode += min(section.n_rows, self.n_heldout) * 2 * covariances
        return {"memory": memory, "encode": n_runs * encode, "starts": 2.0}

    def changes(self) -> Needs:
        section = self.config.changes
        climbed = section.n_find_rows * section.n_starts * section.n_iterations
        coded = min(section.n_rows, self.n_heldout) * (1 + section.max_lines)
        encode = 4.0 * self.d_model * section.max_changes * (climbed + coded)
        own = {"encode": encode + self.encoded(section.n_rows)}
        made = self.made(self.round_rows or section.n_find_rows)
        if self.config.has_models:
            n_patches = 1 + section.n_causal * (2 + self.config.causal.n_draws)
            return added(own, made, self.patched(n_patches))
        memory = 4.0 * section.n_find_rows * self.width
        return added(own, made, {"memory": memory, "starts": LOADING})

    def causal(self) -> Needs:
        return self.patched(CAUSAL_PATCHES + MATCHED_SETS * self.config.causal.n_draws)

    def parting(self) -> Needs:
        section, it = self.config.parting, self.sizes[1]
        # A listed token has a whole sequence before it at most; a gradient costs three passes.
        n_listed = float(section.n_tokens * len(self.config.source_names) * self.length)
        n_passes = 3 * section.path_points + 3 + 2 * (section.n_changes + section.n_latents)
        forward = section.n_sequences * self.length * (self.lower + sum(self.upper))
        forward += n_listed * n_passes * self.upper[1]
        encode = n_listed * (2 + section.n_latents) * self.dictionary
        kept = STREAMS * BYTES[self.config.hook_point.dtype] * self.length * it.d_model
        own = {"memory": float(kept * (it.n_layers - self.layer))}
        return added(self.spliced(section.batch_sequences, forward=forward, encode=encode), own)

    def baselines(self) -> Needs:
        section, train = self.config.baselines, self.config.train
        n_rows = section.n_train_rows or train.n_rows or self.n_train
        weights, positions = 8.0 * self.d_model * section.diff_sae.n_latents, section.positions
        memory = 4 * weights + 12.0 * train.batch_rows * section.diff_sae.n_latents
        encode = 2 * self.encoded(section.n_rows)
        encode += 2 * min(section.n_rows, self.n_heldout) * weights / 4
        own = {"disk": weights, "scratch": 6 * weights, "memory": memory, "encode": encode}
        own |= {"diff_step": n_rows, "starts": LOADING * (not self.config.has_models)}
        # Means of the first round, and then all that the diff-SAE needs, from its start.
        made = self.made((self.round_rows or section.n_rows) + n_rows)
        if not self.config.has_models:
            return added(own, made)
        tested = self.patched(BASELINE_PATCHES)
        tested["memory"] = max(0.0, tested["memory"] - memory)  # one after the other
        read = positions.n_documents * (positions.n_positions + 1.0) * self.lower
        return added(own, made, tested, {"forward": read})

    def organism(self) -> Needs:
        section = self.config.organism
        measured = ORGANISM_SETS * (len(MODELS) + 1 + ORGANISM_CONTROLS * section.n_draws)
        measured += 2 * STEERED_SETS * len(section.steer_factors) * (1 + STEERED_DRAWS)
        n_tokens = section.n_prompts * (section.max_prompt_tokens + section.n_greedy_tokens)
        forward = n_tokens * measured * self.upper[1]
        return self.spliced(1, forward=forward, encode=self.encoded(section.n_rows))

    def steering(self) -> Needs:
        config, section = self.config, self.config.steering
        # Each change in three ways; every condition has a random twin, and there is one without.
        n_conditions = 3 * section.n_changes * len(section.change_factors)
        n_conditions += config.baselines.positions.n_positions * len(section.position_factors)
        n_conditions = 1 + 2 * n_conditions
        n_texts = (len(section.questions) + len(section.beginnings)) * section.n_samples
        n_tokens = float(n_texts * n_conditions * section.n_tokens)
        # Either model writes while the other reads along up to the hook point.
        whole = sum(s.operations(s.n_layers, n_heads=1) for s in self.sizes)
        planted = section.n_planted * config.organism.max_prompt_tokens * n_conditions
        forward = 4.0 * planted * self.upper[1] * bool(config.planted_source)
        encode = 4 * n_tokens * self.d_model * config.changes.max_changes
        work = {"write": n_tokens * (self.lower + whole), "forward": forward, "encode": encode}
        return self.spliced(1, **work) | {"starts": LOADING + 2 * n_tokens / CALLS_PER_START}

    def dashboards(self) -> Needs:
        section = self.config.dashboards
        chosen = min(section.n_latents, self.n_latents or section.n_latents)
        # Of each model the embeddings and one block, in float32; rows come before the heads.
        heads = sum(4.0 * (s.n_embedding_parameters + s.n_block_parameters) for s in self.sizes)
        memory = max(heads + self.config.runtime.logits_bytes, 16.0 * section.batch_rows * chosen)
        memory += chosen * 14_000.0  # examples and counts, on disk 2 KB packed: as `tiny` has them
        needs = {"disk": chosen * 2_000.0, "memory": memory}
        # Plain Python writes the text of the examples.
        needs["starts"] = LOADING + chosen / 1024
        return needs | {"encode": 2 * self.encoded(section.n_rows)}

    def explain(self) -> Needs:
        writer = self.config.explain.writer
        told = configuration_of(self.config.models, writer) if writer.kind == "local" else None
        if told is None:  # nobody is asked, or an endpoint, whose speed nobody here knows
            return {}
        size, (_, n_read, n_written) = size_from(told), tokens_asked(self.config.explain)
        forward = n_read * size.operations(size.n_layers)
        write = n_written * size.operations(size.n_layers, n_heads=1)
        return {"memory": 4.0 * size.n_parameters, "forward": forward, "write": write}


def rows_on_disk(round_rows: int, n_rows: float) -> float:
    """Most training rows on disk: two rounds where there are two, and one file of buckets."""
    held = min(round_rows, n_rows)
    permutation = Permutation(0, int(held))
    buckets = permutation.bucket_rows * -(-permutation.n_buckets // MAX_FILES)
    return held * (1 if held >= n_rows else 2) + min(buckets, held)
