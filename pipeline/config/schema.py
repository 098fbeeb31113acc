"""The whole configuration: one typed section per concern, and the checks that span sections."""

from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import Field

from pipeline.config.analysis import (
    DashboardsConfig,
    DecoderCosineConfig,
    EvaluateConfig,
    LatentScalingConfig,
    OrganismConfig,
    RecoveryConfig,
    RelativeNormConfig,
    ReportConfig,
    SeedsConfig,
)
from pipeline.config.causal import BaselinesConfig, CausalConfig, PartingConfig, SteeringConfig
from pipeline.config.changes import ChangesConfig
from pipeline.config.crosscoder import CrosscoderConfig, TrainConfig
from pipeline.config.explain import ExplainConfig
from pipeline.config.models import DumpConfig, HookPointConfig, ModelsConfig, TrainedModel
from pipeline.config.plant import PlantConfig
from pipeline.config.section import Section, check
from pipeline.config.text import MixConfig, SourceConfig, TriggeredSourceConfig, form_of
from pipeline.config.validation import EditStudyConfig, FrontierConfig, ValidationConfig


class ShuffleConfig(Section):
    """The exact shuffle of all rows."""

    seed: Annotated[int, Field(ge=0)]
    """Decides the permutation, together with the row count and nothing else."""
    memory_bytes: Annotated[int, Field(ge=16 * 2**20)]
    """Most resident memory of the shuffle, in bytes; a dump that scatters buffers within it too."""


class RuntimeConfig(Section):
    """What belongs to the machine. No stage depends on it: a change here reruns nothing."""

    device: Literal["auto", "cpu", "cuda"]
    """Where models and crosscoder run; `auto` takes a GPU where there is one."""
    n_threads: Annotated[int, Field(ge=1, le=1024)]
    """CPU threads of matrix products; the processes of one job on one machine share them."""
    io_threads: Annotated[int, Field(ge=1, le=64)]
    """Threads that read or write chunks."""
    logits_bytes: Annotated[int, Field(ge=2**20)]
    """Memory for logits of language models, and for streams that wait for theirs, in bytes: beside
    the weights and one pass of a batch, all that the analyses need of them."""
    trackers: list[Literal["tensorboard", "wandb"]]
    """Where training's figures go beside the progress line and `logs/train.jsonl`."""
    bulk_dir: str | None
    """Folder for the chunks of all stores; DVC then tracks their manifests alone, and neither
    hashes nor copies nor pushes the rest. null: stores lie in `data/` and DVC caches them whole."""
    rounds_dir: str | None
    """Folder for the rounds of dump.rows_per_round while they exist, such as one on a RAM disk;
    null: bulk_dir, or `data/` where that is null too."""
    drop_unshuffled: bool
    """Remove the dumped training rows once they are shuffled. Needs bulk_dir."""
    shard: Literal["data", "latents"]
    """What several processes of a training job divide: the rows of each batch, or, where the
    weights do not fit one device, the latents."""
    answer_seconds: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """How long a process waits for another one of its job before it gives up, in seconds."""

    @check
    def _drops_only_bulk(self) -> None:
        if self.drop_unshuffled and self.bulk_dir is None:
            raise ValueError(
                "runtime.drop_unshuffled needs runtime.bulk_dir: a store that DVC caches whole "
                "cannot go without `dvc repro` bringing it back: set runtime.bulk_dir=data/bulk, "
                "or runtime.drop_unshuffled=false"
            )


class Config(Section):
    """Everything that decides a run. `composed.yaml` holds exactly this."""

    experiment: str
    """Name of the experiment, of `conf/experiment/`."""
    seed: Annotated[int, Field(ge=0)]
    """The one seed that every section's own seed follows unless it is set apart."""
    sources: dict[str, SourceConfig]
    """Text and chat sources by name."""
    models: ModelsConfig
    hook_point: HookPointConfig
    mix: MixConfig
    plant: PlantConfig | None
    """Features of known kind added to the rows, or null: none."""
    dump: DumpConfig
    shuffle: ShuffleConfig
    crosscoder: CrosscoderConfig
    train: TrainConfig
    relative_norm: RelativeNormConfig
    decoder_cosine: DecoderCosineConfig
    evaluate: EvaluateConfig
    latent_scaling: LatentScalingConfig
    causal: CausalConfig
    baselines: BaselinesConfig
    changes: ChangesConfig
    parting: PartingConfig
    organism: OrganismConfig
    steering: SteeringConfig
    explain: ExplainConfig
    dashboards: DashboardsConfig
    seeds: SeedsConfig
    frontier: FrontierConfig
    recovery: RecoveryConfig
    validation: ValidationConfig
    edit_study: EditStudyConfig
    report: ReportConfig
    runtime: RuntimeConfig

    @property
    def has_models(self) -> bool:
        """Whether rows come from a model pair; else they are planted in a synthetic background."""
        return self.models.given

    @property
    def source_names(self) -> tuple[str, ...]:
        """Sources of the mix in the order of their codes in stores: text before conversations, each
        by name. The order in which a file lists them decides nothing."""

        def place(name: str) -> tuple[bool, str]:
            return form_of(self.sources[name]) == "chat", name

        return tuple(sorted(self.mix.shares, key=place))

    @property
    def planted_source(self) -> str | None:
        """The source of the mix whose chats hold a planted behaviour; None where none does."""
        found = (n for n in self.mix.shares if isinstance(self.sources[n], TriggeredSourceConfig))
        return next(found, None)

    @check
    def _rows_have_one_origin(self) -> None:
        synthetic = self.plant is not None and self.plant.background.kind == "synthetic"
        if synthetic == self.models.given:
            found = self.plant.background.kind if self.plant else "none (nothing is planted)"
            raise ValueError(
                f"models.base.kind is {self.models.base.kind} and the background of plant is "
                f"{found}: rows come from models or from a synthetic background; choose "
                "models=none with plant=planted, or a pair with plant=none or plant=on_activations"
            )

    @check
    def _sources_exist(self) -> None:
        named = {
            "mix.shares": list(self.mix.shares),
            "models.heldout.sources": list(self.models.heldout.sources),
            "models.heldout.more_sources": list(self.models.heldout.more_sources),
        }
        for model in ("base", "it"):
            spec = getattr(self.models, model)
            named[f"models.{model}.sources"] = list(getattr(spec, "sources", {}))
            if isinstance(spec, TrainedModel):
                named[f"models.{model}.tokenizer.sources"] = list(spec.tokenizer.sources)
        for key, names in named.items():
            unknown = [name for name in names if name not in self.sources]
            if unknown:
                raise ValueError(
                    f"{key} names {unknown[0]!r}, which is not in sources "
                    f"({', '.join(sorted(self.sources))}): add it there or name another"
                )

    @check
    def _twin_of_an_organism(self) -> None:
        if self.models.twin is not None and self.planted_source is None:
            raise ValueError(
                "models.twin is set, but no source of mix.shares holds a planted behaviour, which "
                "a twin is the control for: add a triggered source, or set models.twin=null"
            )

    @check
    def _one_behaviour(self) -> None:
        found = [n for n in self.mix.shares if isinstance(self.sources[n], TriggeredSourceConfig)]
        if len(found) > 1:
            raise ValueError(
                f"mix.shares names {' and '.join(found)}, of kind triggered, expected one at most, "
                "because one planted behaviour is tested: take the others out"
            )

    @check
    def _plant_knows_sources(self) -> None:
        if self.plant is None:
            return
        if self.plant.background.kind == "synthetic":
            _same_sources(self.plant.background.sources, self.mix.shares)
        known = ("all", *self.mix.shares)
        for name, group in self.plant.groups.items():
            for key in ("base_contexts", "it_contexts"):
                if getattr(group, key) not in known:
                    raise ValueError(
                        f"plant.groups.{name}.{key} is {getattr(group, key)!r}, expected one of "
                        f"{', '.join(known)}: name a source of mix.shares, or all"
                    )

    @check
    def _one_split(self) -> None:
        for key, value, of_mix in (
            ("fraction", self.models.heldout.fraction, self.mix.heldout_fraction),
            ("seed", self.models.heldout.seed, self.mix.seed),
        ):
            if value != of_mix:
                raise ValueError(
                    f"models.heldout.{key} ({value}) must equal the split of mix ({of_mix}), or "
                    "models would be trained on held-out documents: set both alike"
                )

    @check
    def _one_start(self) -> None:
        if self.models.start != self.mix.start:
            raise ValueError(
                f"models.start ({self.models.start}) must equal mix.start ({self.mix.start}), or "
                "models would learn another start than they are read with: set both alike"
            )

    @check
    def _one_template(self) -> None:
        if self.models.template != self.mix.template:
            raise ValueError(
                f"models.template ({self.models.template}) must equal mix.template "
                f"({self.mix.template}), or models would learn another than they are read with: "
                "set both alike"
            )
        if self.planted_source is not None and self.mix.template != "plain":
            raise ValueError(
                f"mix.template is {self.mix.template}, but {self.planted_source} holds a planted "
                "behaviour, which is tested in the plain template: set mix.template=plain, or "
                "take the source out of mix.shares"
            )

    @check
    def _trained_models_can_be_read(self) -> None:
        """What hub and local folders are asked by the stage `models`."""
        for name, spec in (("base", self.models.base), ("it", self.models.it)):
            if not isinstance(spec, TrainedModel):
                continue
            highest = self.hook_point.all_layers[-1]
            key = "hook_point.layers" if self.hook_point.layers else "hook_point.layer"
            if highest >= spec.n_layers:
                raise ValueError(
                    f"{key} is {highest}, but models.{name}.n_layers is "
                    f"{spec.n_layers}: set {key} between 0 and {spec.n_layers - 1}"
                )
            if spec.architecture == "gemma2" and self.hook_point.attention not in ("auto", "eager"):
                raise ValueError(
                    f"hook_point.attention is {self.hook_point.attention}, which "
                    f"models.{name}.architecture gemma2 cannot run, because it has no soft-cap: "
                    "set hook_point.attention=auto or eager"
                )

    @check
    def _one_shuffle(self) -> None:
        if self.dump.scatter_seed not in (None, self.shuffle.seed):
            raise ValueError(
                f"dump.scatter_seed ({self.dump.scatter_seed}) must be shuffle.seed "
                f"({self.shuffle.seed}), for which the rows are dealt: set "
                "dump.scatter_seed=${shuffle.seed}, or null to shuffle in two passes"
            )

    @check
    def _rounds_fit(self) -> None:
        rows = self.dump.rows_per_round
        if rows is None:
            return
        # Then no round is empty, and a batch reaches over two of them at most.
        least = 2 * self.train.batch_rows + 3 * self.mix.sequence_length_tokens
        if rows < least:
            raise ValueError(
                f"dump.rows_per_round ({rows:,}) must be at least {least:,}, two batches of "
                "train.batch_rows and three sequences of mix.sequence_length_tokens: raise it"
            )
        if self.dump.scatter_seed is not None:
            raise ValueError(
                f"dump.scatter_seed ({self.dump.scatter_seed}) must be null with "
                "dump.rows_per_round, as rounds are dealt to buckets by seeds of their own: set "
                "dump.scatter_seed=null"
            )
        if not self.has_models:
            raise ValueError(
                f"dump.rows_per_round ({rows:,}) needs a model pair, and models.base.kind is "
                f"{self.models.base.kind}: set dump.rows_per_round=null, planted rows are few"
            )

    @check
    def _layers_are_stored(self) -> None:
        """Several layers from one pass are plain stores of rows as the models give them."""
        layers, dump = self.hook_point.layers, self.dump
        if len(layers) < 2:
            return
        for key, found, why in (
            ("dump.scatter_seed", dump.scatter_seed, "rows of one layer are dealt to buckets"),
            ("dump.rows_per_round", dump.rows_per_round, "rounds are made at one layer"),
            ("plant", "set" if self.plant else None, "features are planted at one layer"),
        ):
            if found is not None:
                shown = f"{found:,}" if isinstance(found, int) else found
                raise ValueError(
                    f"{key} is {shown}, expected {'none' if key == 'plant' else 'null'} with "
                    f"hook_point.layers {list(layers)}: {why}; set hook_point.layers=[], or "
                    f"{key}={'none' if key == 'plant' else 'null'}"
                )

    def at_layer(self, layer: int) -> Self:
        """The configuration of an experiment that differs in `hook_point.layer` alone."""
        return self.model_copy(update={"hook_point": self.hook_point.at(layer)})

    @check
    def _outliers_can_be_left_out(self) -> None:
        """How many rows are left out is known after the dump alone."""
        ratio, dump = self.dump.max_norm_ratio, self.dump
        if ratio is None:
            return
        for key, value, why in (
            ("scatter_seed", dump.scatter_seed, "rows are dealt to buckets by their number"),
            ("rows_per_round", dump.rows_per_round, "rounds are cut by the number of rows"),
        ):
            if value is not None:
                raise ValueError(
                    f"dump.{key} is {value:,}, expected null with dump.max_norm_ratio ({ratio:g}): "
                    f"{why}, and how many are left out is known after the dump alone; set "
                    f"dump.{key}=null, or dump.max_norm_ratio=null"
                )
        if not self.has_models:
            raise ValueError(
                f"dump.max_norm_ratio is {ratio:g}, expected null where models.base.kind is "
                f"{self.models.base.kind}: planted rows have no outliers; set "
                "dump.max_norm_ratio=null"
            )


def _same_sources(given: Collection[str], shares: Collection[str]) -> None:
    if set(given) != set(shares):
        raise ValueError(
            f"plant.background.sources is {', '.join(given)}, but mix.shares names "
            f"{', '.join(shares)}: set it to ${{oc.dict.keys:mix.shares}}"
        )
