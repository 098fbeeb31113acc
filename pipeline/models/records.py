"""What `data/models/` says about the pair: where each model lives, its shape, its files' digests.

Layout: `models.json`, `tokenizer/`, and `base/`, `it/` for models made here. Hub and local models
are references: they are read where they are, and refused if a file of theirs has changed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.artifacts import sha256_file, write_json
from pipeline.errors import MissingArtifactError, ModelError

MODELS_FILE = "models.json"
TOKENIZER_DIR = "tokenizer"
CONFIG_FILE = "config.json"
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
class ModelRecord:
    """One model of the pair as consumers see it.

    kind: hub | local | here; location: repository | folder | folder inside `data/models/`
    revision: commit of a hub model, else empty; d_model: residual width; n_layers: blocks
    files: name -> bytes and sha256
    """

    kind: Literal["hub", "local", "here"]
    location: str
    revision: str
    architecture: str
    d_model: int
    n_layers: int
    vocab_size: int
    files: dict[str, dict[str, Any]]

    @property
    def n_bytes(self) -> int:
        """Size of all files together."""
        return sum(entry["bytes"] for entry in self.files.values())


def write_records(models_dir: Path, records: dict[str, ModelRecord]) -> None:
    """Write `models.json`."""
    write_json(models_dir / MODELS_FILE, {name: asdict(r) for name, r in records.items()})


def read_records(models_dir: Path) -> dict[str, ModelRecord]:
    """Both records; MissingArtifactError where the models stage has not run."""
    path = models_dir / MODELS_FILE
    if not path.is_file():
        raise MissingArtifactError(f"{path} not found: run `dvc repro models`")
    return {name: ModelRecord(**entry) for name, entry in json.loads(path.read_text()).items()}


def describe(
    folder: Path, kind: Literal["hub", "local", "here"], location: str, revision: str = ""
) -> ModelRecord:
    """The record of the Hugging Face folder `folder`. ModelError where it is not one."""
    config = read_config(folder)
    text = config.get("text_config", config)
    return ModelRecord(
        kind=kind,
        location=location,
        revision=revision,
        architecture=str(config.get("model_type", "")),
        d_model=_dimension(folder, text, "hidden_size", "n_embd"),
        n_layers=_dimension(folder, text, "num_hidden_layers", "n_layer"),
        vocab_size=_dimension(folder, text, "vocab_size"),
        files=file_digests(folder),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder as plain data. ModelError where it is missing or broken."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        what = "has no config.json" if folder.is_dir() else "does not exist"
        raise ModelError(
            f"model folder {folder} {what}: expected a Hugging Face folder with config.json, "
            "*.safetensors and the tokenizer; name another folder"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON ({error}): download the model again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no JSON object: download the model again")
    return config


def _dimension(folder: Path, config: dict[str, Any], *keys: str) -> int:
    for key in keys:
        if isinstance(config.get(key), int):
            return config[key]
    raise ModelError(
        f"{folder / CONFIG_FILE} has no integer {' or '.join(keys)}: "
        "expected the configuration of a decoder-only language model; name another model"
    )


def model_files(folder: Path) -> list[Path]:
    """The files of a folder that decide the model, sorted. ModelError where weights are missing."""
    files = sorted({path for pattern in FILE_PATTERNS for path in folder.glob(pattern)})
    if not any(path.suffix == ".safetensors" for path in files):
        raise ModelError(
            f"model folder {folder} has no *.safetensors file: expected weights in safetensors; "
            "convert them, or name another folder"
        )
    return files


def file_digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> bytes and sha256 of every file that decides the model."""
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in model_files(folder)
    }


def check_unchanged(folder: Path, record: ModelRecord) -> None:
    """Raise ModelError unless the folder's files are those that were recorded."""
    found = file_digests(folder)
    for name in sorted(found.keys() | record.files.keys()):
        if found.get(name) != record.files.get(name):
            raise ModelError(
                f"{folder / name} is not the file that the models stage recorded "
                f"(found {_short(found.get(name))}, expected {_short(record.files.get(name))}): "
                "restore it, or run `dvc repro --force models` to take the model as it is now"
            )


def is_current(models_dir: Path) -> bool:
    """Whether the folders of local models still hold the files that were recorded."""
    for record in read_records(models_dir).values():
        if record.kind == "local" and file_digests(Path(record.location)) != record.files:
            return False
    return True


def _short(entry: dict[str, Any] | None) -> str:
    return f"{entry['bytes']} bytes, sha256 {entry['sha256'][:12]}" if entry else "no file"
