"""What every stage shares: its name, its sections, its files, its command line, its errors.

`dvc.yaml` repeats these declarations for DVC; a test holds the two against each other.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline import artifacts, bulk, local_files, run_records
from pipeline.artifacts import Build, Manifest
from pipeline.command import command, named, tell
from pipeline.config import Config, load_config
from pipeline.distributed import joined, world
from pipeline.errors import MismatchError, OutOfMemoryError, PipelineError, is_lack_of_memory
from pipeline.paths import in_main_tree
from pipeline.progress import format_seconds
from pipeline.run_records import Clock

DATA = Path("data")
MODELS = Path("data/models")
TOKENS = Path("data/tokens.zarr")
ACTIVATIONS = Path("data/activations.zarr")
HELDOUT_ACTIVATIONS = Path("data/heldout_activations.zarr")
SHUFFLED = Path("data/shuffled.zarr")
PLANT = Path("data/plant")
CROSSCODER = Path("data/crosscoder")
SEEDS = Path("data/seeds")
RESULTS = Path("results")
DASHBOARDS = RESULTS / "dashboards"
LATENT_SCALING = RESULTS / "latent_scaling.manifest.json"
EVALUATION = RESULTS / "evaluate.manifest.json"
DIFF_SAE = Path("data/diff_sae")
CHANGES = Path("data/changes")
LISTED = RESULTS / "changes.manifest.json"
COMPARED = RESULTS / "baselines.manifest.json"

ARTIFACTS = {
    "models": (MODELS, "models"),
    "tokens": (TOKENS, "mix"),
    "activations": (ACTIVATIONS, "dump"),
    "heldout_activations": (HELDOUT_ACTIVATIONS, "dump"),
    "plant": (PLANT, "dump"),
    "shuffled": (SHUFFLED, "shuffle"),
    "crosscoder": (CROSSCODER, "train"),
    "seeds": (SEEDS, "seed_runs"),
    "dashboards": (DASHBOARDS, "dashboards"),
    "latent_scaling": (LATENT_SCALING, "latent_scaling"),
    "evaluation": (EVALUATION, "evaluate"),
    "diff_sae": (DIFF_SAE, "baselines"),
    "changes": (CHANGES, "changes"),
    "listed": (LISTED, "changes"),
    "compared": (COMPARED, "baselines"),
}
"""Name by which stages know what they read -> where it lies, and the stage that makes it."""
MADE_BY = dict(ARTIFACTS.values())


def paths_of(*names: str) -> dict[str, Path]:
    """What a stage reads, by the names of ARTIFACTS."""
    return {name: ARTIFACTS[name][0] for name in names}


@dataclass(frozen=True)
class Stage:
    """A stage's declaration.

    sections: of the configuration that decide its output (never `runtime`)
    local_files: those of the sections whose local files it reads (see `pipeline.local_files`)
    inputs, outputs: artifact name -> path; results: file names under `results/`
    format_version: raise it when the same configuration gives other bytes than before
    is_parallel: whether several processes of `torchrun` can do it together
    memory_keys: what to lower where its device runs out of memory; none: it computes on no device
    limits_memory: whether it keeps a limit on the memory of its whole process
    resumes: whether a run that is stopped goes on from its unfinished work
    written, unchanged: what the present run has made, and what it found as it would have made it
    remarks: what else the last line of the present run says
    """

    name: str
    sections: tuple[str, ...]
    local_files: tuple[str, ...] = ()
    inputs: Mapping[str, Path] = field(default_factory=dict)
    outputs: Mapping[str, Path] = field(default_factory=dict)
    results: tuple[str, ...] = ()
    format_version: int = 1
    is_parallel: bool = False
    memory_keys: tuple[str, ...] = ()
    limits_memory: bool = False
    resumes: bool = False
    written: list[Path] = field(default_factory=list, compare=False)
    unchanged: list[Path] = field(default_factory=list, compare=False)
    remarks: list[str] = field(default_factory=list, compare=False)

    def config(self, config: Config) -> dict[str, Any]:
        """The sections that decide this stage's output, as plain data."""
        plain = config.model_dump(mode="json")
        return {name: plain[name] for name in self.sections}

    def input(self, config: Config, name: str) -> Manifest:
        """The manifest of an input, checked against the configuration.

        Raises MissingArtifactError, MismatchError with the key and both values where the input was
        made under another configuration, and ArtifactError for a folder of which a part is gone.
        """
        path = self.inputs[name]
        manifest = artifacts.read_manifest(path, MADE_BY[path])
        check_lineage(path, manifest, config, made_by=MADE_BY[path], reader=self.name)
        if path.suffix == "":
            artifacts.check_whole(path, manifest, MADE_BY[path])
        return manifest

    @contextmanager
    def build(self, config: Config, output: str, *, is_aside: bool = False) -> Iterator[Build]:
        """Lock and build the named output; see `artifacts.build`. Stores may go to the bulk. Of
        several processes the first has the lock, and the others are told where it builds."""
        with ExitStack() as stack:
            build = world().from_first(
                lambda: stack.enter_context(self._locked(config, output, is_aside=is_aside))
            )
            was_complete = build.complete
            yield build
            if is_aside:
                return
            told = self.unchanged if was_complete else self.written
            told.append(self.outputs[output])

    @contextmanager
    def _locked(self, config: Config, output: str, *, is_aside: bool) -> Iterator[Build]:
        for name in self.inputs:
            self.input(config, name)
        path = self.outputs[output]
        with artifacts.build(
            path,
            artifact=output,
            format_version=self.format_version,
            config=self.config(config),
            inputs=self.inputs,
            local_files=self._local_files(config),
            bulk_dir=bulk_dir_of(config, path),
            is_aside=is_aside,
        ) as build:
            yield build

    def _local_files(self, config: Config) -> dict[str, str]:
        """One digest over the local files of each section that names some."""
        sections = self.config(config)
        found = {name: local_files.digests(sections[name]) for name in self.local_files}
        return {
            f"local files of {name}": hashlib.sha256(artifacts.canonical_json(files)).hexdigest()
            for name, files in found.items()
            if files
        }

    def publish_results(self, config: Config, files: Mapping[str, Any]) -> None:
        """Write `results/<name>` for each file (bytes as they are, anything else as JSON) and
        then `results/<stage>.manifest.json`, which tells what made them. Of several processes,
        all of which have the same results, the first writes."""
        missing = set(self.results) ^ set(files)
        assert not missing, f"stage {self.name} declares other results than it writes: {missing}"
        if not world().is_first:
            return
        contents = {
            name: value if isinstance(value, bytes) else artifacts.canonical_json(value, indent=2)
            for name, value in files.items()
        }
        manifest = self._results_manifest(config, contents)
        for name, content in [
            *contents.items(),
            (f"{self.name}.manifest.json", manifest.to_json()),
        ]:
            path = RESULTS / name
            if path.is_file() and path.read_bytes() == content:
                self.unchanged.append(path)
            else:
                artifacts.write_bytes(path, content)
                self.written.append(path)

    def _results_manifest(self, config: Config, contents: Mapping[str, bytes]) -> Manifest:
        made = artifacts.new_manifest(
            self.name,
            self.format_version,
            self.config(config),
            self.inputs,
            self._local_files(config),
        )
        digests = {name: artifacts.describe_bytes(data) for name, data in contents.items()}
        return replace(made, files=digests)


def check_lineage(
    path: Path, manifest: Manifest, config: Config, *, made_by: str, reader: str
) -> None:
    """Raise MismatchError, with the key and both values, where what lies at `path`, the work of the
    stage `made_by`, was made under another configuration than the one in force for `reader`."""
    wanted = config.model_dump(mode="json")
    for section, made_with in manifest.lineage.items():
        difference = first_difference(section, made_with, wanted.get(section))
        if difference:
            key, found, expected = difference
            raise MismatchError(
                f"{path} was made with {key} = {found!r}, but the configuration says "
                f"{expected!r}: run `dvc repro {made_by}` (or run the stages before "
                f"{reader} with the same overrides)"
            )


def bulk_dir_of(config: Config, path: Path) -> Path | None:
    """Where the chunks of an artifact go; None for those that lie in `data/` whole: what is no
    store, and what stands for rows that are made in rounds."""
    bulk_dir = config.runtime.bulk_dir
    in_rounds = config.dump.rows_per_round is not None and path in (ACTIVATIONS, SHUFFLED)
    return in_main_tree(bulk_dir) if bulk_dir and path.suffix == ".zarr" and not in_rounds else None


def first_difference(key: str, found: Any, expected: Any) -> tuple[str, Any, Any] | None:
    """Dotted key and both values of the first leaf in which two plain values differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            difference = first_difference(f"{key}.{name}", found.get(name), expected.get(name))
            if difference:
                return difference
        return None
    return None if found == expected else (key, found, expected)


def run(stage: Stage, main: Callable[[Config], None]) -> None:
    """Command line of a stage: `python -m stages.X [hydra overrides]`.

    Without overrides the stage reads `composed.yaml`, as `dvc repro` does; with overrides it
    composes `conf/` itself. The last line names what was written.
    """

    def configured(typed: list[str]) -> None:
        config = load_config(typed)
        use_runtime(config)
        stage.written.clear()
        stage.unchanged.clear()
        stage.remarks.clear()
        clock = Clock()
        with (
            artifacts.clear_space_errors(DATA),
            joined(config.runtime.answer_seconds, config.runtime.device, stage.name),
            clear_memory_errors(stage),
        ):
            tell_device(stage, config)
            main(config)
        if world().is_first:
            device = config.runtime.device if stage.memory_keys else None
            run_records.keep(stage.name, typed, clock, stage.written, device)
            tell(last_line(stage, clock.seconds()))

    doc = getattr(main, "__globals__", {}).get("__doc__")
    command(
        stage.name,
        configured,
        doc=doc,
        sections=stage.sections,
        resumes=stage.resumes,
        is_parallel=stage.is_parallel,
    )


def last_line(stage: Stage, seconds: float) -> str:
    """What a stage has done; nothing for one that writes nothing."""
    if stage.written:
        said = [f"wrote {named(stage.written)} in {format_seconds(seconds)}", *stage.remarks]
        return f"{stage.name}: {'; '.join(said)}\n"
    if stage.unchanged:
        return f"{stage.name}: nothing to do, {named(stage.unchanged)} as configured\n"
    return ""


def tell_device(stage: Stage, config: Config) -> None:
    """Say on the terminal which device the stage computes on, if it computes on one."""
    if stage.memory_keys and world().is_first:
        from pipeline.runtime import describe_device

        sys.stderr.write(f"{stage.name}: {describe_device(config.runtime.device)}\n")
        sys.stderr.flush()


@contextmanager
def clear_memory_errors(stage: Stage) -> Iterator[None]:
    """Turn the lack of memory into OutOfMemoryError with the keys to lower."""
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        if isinstance(error, PipelineError) or not is_lack_of_memory(error):
            raise
        wanted = " ".join(str(error).split()) or "no size given"
        keys = " or ".join(stage.memory_keys) or "the sizes in the configuration"
        message = f"{stage.name} ran out of memory ({wanted}): lower {keys}"
        raise OutOfMemoryError(message) from error


def use_runtime(config: Config) -> None:
    """Apply what must be in force before a library reads its environment, and before a store is
    looked for: an experiment that ran elsewhere filled the bulk, but left no link here."""
    if config.runtime.bulk_dir is not None and not (DATA / bulk.LINK).is_symlink():
        folder = in_main_tree(config.runtime.bulk_dir)
        if folder.is_dir() and DATA.is_dir():
            bulk.use_bulk_dir(DATA, folder)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("OMP_NUM_THREADS", str(config.runtime.n_threads))
    # cuBLAS gives the same bits every time only with a workspace of a fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def seed_folder(root: Path, run: int) -> Path:
    """Where the crosscoder of seed number `run` (1, 2, ...) lies below `root`."""
    return root / f"run_{run}"
