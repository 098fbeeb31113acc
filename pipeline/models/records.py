"""What `data/models/` says about the pair: where each model lives, its shape, its files' digests.

Layout: `models.json`, `tokenizer/`, and `base/`, `it/` for models made here. Hub and local models
are references: they are read where they are, and refused if a file of theirs has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.artifacts import sha256_file, write_json
from pipeline.errors import MissingArtifactError, ModelError
from pipeline.labels import MODELS
from pipeline.models.configuration import (
    ADAPTER_PATTERNS,
    CONFIG_FILE,
    read_configuration,
    shape_of,
)
from pipeline.paths import located

MODELS_FILE = "models.json"
TOKENIZER_DIR = "tokenizer"
WEIGHT_PATTERNS = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER_PATTERNS = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
FILE_PATTERNS = (CONFIG_FILE, *WEIGHT_PATTERNS, *TOKENIZER_PATTERNS)


@dataclass(frozen=True)
class AdapterRecord:
    """A LoRA adapter that is merged into a model when it is loaded; fields as of ModelRecord."""

    kind: Literal["hub", "local", "here"]
    location: str
    revision: str
    files: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ModelRecord:
    """One model of the pair as consumers see it.

    kind: hub | local | here; location: repository | folder | folder inside `data/models/`
    revision: commit of a hub model, else empty; d_model: residual width; n_layers: blocks
    files: name -> bytes and sha256; adapter: what is merged into these weights, or None
    """

    kind: Literal["hub", "local", "here"]
    location: str
    revision: str
    architecture: str
    d_model: int
    n_layers: int
    vocab_size: int
    files: dict[str, dict[str, Any]]
    adapter: AdapterRecord | None

    @property
    def n_bytes(self) -> int:
        """Size of all files together, an adapter's included."""
        files = [*self.files.values(), *(self.adapter.files.values() if self.adapter else ())]
        return sum(entry["bytes"] for entry in files)


def have_same_weights(records: Mapping[str, ModelRecord]) -> bool:
    """Whether both models of the pair are the same files of weights, so that nothing can differ."""
    one, other = (_weights(records[name]) for name in MODELS)
    return bool(one) and one == other


def _weights(record: ModelRecord) -> list[tuple[str, dict[str, Any]]]:
    """Digests of the weights, an adapter's with them."""
    files = [*record.files.items(), *(record.adapter.files.items() if record.adapter else ())]
    return [(name, digest) for name, digest in files if name.endswith(".safetensors")]


def write_records(models_dir: Path, records: dict[str, ModelRecord]) -> None:
    """Write `models.json`."""
    write_json(models_dir / MODELS_FILE, {name: asdict(r) for name, r in records.items()})


def read_records(models_dir: Path) -> dict[str, ModelRecord]:
    """Both records; MissingArtifactError where the models stage has not run."""
    path = models_dir / MODELS_FILE
    if not path.is_file():
        raise MissingArtifactError(f"{path} not found: run `dvc repro models`")
    return {name: _record(entry) for name, entry in json.loads(path.read_text()).items()}


def _record(entry: dict[str, Any]) -> ModelRecord:
    record = ModelRecord(**entry)
    return replace(record, adapter=AdapterRecord(**entry["adapter"])) if record.adapter else record


def describe(
    folder: Path, kind: Literal["hub", "local", "here"], location: str, revision: str = ""
) -> ModelRecord:
    """The record of the Hugging Face folder `folder`. ModelError where it is not one."""
    shape = shape_of(read_configuration(folder), folder)
    return ModelRecord(
        kind=kind,
        location=location,
        revision=revision,
        architecture=shape.architecture,
        d_model=shape.d_model,
        n_layers=shape.n_layers,
        vocab_size=shape.vocab_size,
        files=file_digests(folder),
        adapter=None,
    )


def describe_adapter(
    folder: Path, kind: Literal["hub", "local", "here"], location: str, revision: str = ""
) -> AdapterRecord:
    """The record of the PEFT folder `folder`."""
    return AdapterRecord(kind, location, revision, adapter_digests(folder))


def model_files(folder: Path) -> list[Path]:
    """The files of a folder that decide the model, sorted. ModelError where weights are missing."""
    from pipeline.models.skeleton import weight_files  # with torch, which the page needs not

    weight_files(folder)
    return sorted({path for pattern in FILE_PATTERNS for path in folder.glob(pattern)})


def file_digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> bytes and sha256 of every file that decides the model."""
    return _digests(model_files(folder))


def adapter_digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> bytes and sha256 of the files of an adapter."""
    from pipeline.models.adapter import read_adapter

    read_adapter(folder)
    return _digests([folder / name for name in ADAPTER_PATTERNS])


def _digests(paths: list[Path]) -> dict[str, dict[str, Any]]:
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in paths
    }


def check_unchanged(
    folder: Path, found: dict[str, dict[str, Any]], recorded: dict[str, dict[str, Any]]
) -> None:
    """Raise ModelError unless the files found in a folder are those that were recorded."""
    for name in sorted(found.keys() | recorded.keys()):
        if found.get(name) != recorded.get(name):
            raise ModelError(
                f"{folder / name} is not the file that the models stage recorded "
                f"(found {_short(found.get(name))}, expected {_short(recorded.get(name))}): "
                "restore it, or run `dvc repro --force models` to take the model as it is now"
            )


def is_current(models_dir: Path) -> bool:
    """Whether the folders of local models still hold the files that were recorded."""
    for record in read_records(models_dir).values():
        if record.kind == "local" and file_digests(located(record.location)) != record.files:
            return False
        adapter = record.adapter
        if adapter is None or adapter.kind != "local":
            continue
        if adapter_digests(located(adapter.location)) != adapter.files:
            return False
    return True


def _short(entry: dict[str, Any] | None) -> str:
    return f"{entry['bytes']} bytes, sha256 {entry['sha256'][:12]}" if entry else "no file"
