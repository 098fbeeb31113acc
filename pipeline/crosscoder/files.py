"""Crosscoders on disk: this project's layout, and `load` for every known one.

A folder with `config.json` (what the crosscoder is and what made it) and `weights.safetensors`:
W_enc [M, D, L], W_dec [L, M, D], b_enc [L], b_dec [M, D], activation_scale [M], threshold [L].
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from pipeline.artifacts import clear_space_errors, sync, write_json
from pipeline.crosscoder import public_formats
from pipeline.crosscoder.model import Crosscoder
from pipeline.errors import ArtifactError, MissingArtifactError

FORMAT = "crosscoder-pipeline"
FORMAT_VERSION = 1
CONFIG = "config.json"
WEIGHTS = "weights.safetensors"


def save(
    crosscoder: Crosscoder, folder: Path, *, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write the crosscoder to `folder`, `config.json` last. `provenance` is plain data that says
    what made it (configuration, rows trained on, inputs); None keeps the crosscoder's own."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        "W_enc": crosscoder.W_enc,
        "W_dec": crosscoder.W_dec,
        "b_enc": crosscoder.b_enc,
        "b_dec": crosscoder.b_dec,
        "activation_scale": crosscoder.activation_scale,
        "threshold": crosscoder.threshold,
    }
    write_tensors(folder / WEIGHTS, weights)
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": crosscoder.kind,
        "n_models": crosscoder.n_models,
        "d_model": crosscoder.d_model,
        "n_latents": crosscoder.n_latents,
        "provenance": dict(crosscoder.provenance if provenance is None else provenance),
    }
    write_json(folder / CONFIG, config)


def load(folder: Path | str) -> Crosscoder:
    """The crosscoder in `folder`, to be used and not trained (evaluation mode, no gradients): this
    project's layout or a public one.

    Raises MissingArtifactError where there is none and ArtifactError where it cannot be read.
    """
    folder = Path(folder)
    if (folder / WEIGHTS).exists():
        return _load_own(folder)
    crosscoder = public_formats.load(folder)
    if crosscoder is None:
        raise MissingArtifactError(
            f"{folder} holds no crosscoder: expected {WEIGHTS}, "
            f"{public_formats.LEARNING_WEIGHTS} or {public_formats.REFERENCE_WEIGHTS}: "
            "run `dvc repro train`, or name another folder"
        )
    return crosscoder.eval().requires_grad_(False)


def _load_own(folder: Path) -> Crosscoder:
    config = read_config(folder)
    if config.get("format") != FORMAT or config.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(
            f"{folder / CONFIG} is of format {config.get('format')!r} version "
            f"{config.get('format_version')!r}, this version reads {FORMAT!r} version "
            f"{FORMAT_VERSION}: run `dvc repro train`"
        )
    tensors, _ = read_tensors(folder / WEIGHTS)
    try:
        crosscoder = Crosscoder.from_weights(kind=config["kind"], **tensors)
    except (RuntimeError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"{folder / WEIGHTS} does not hold a crosscoder ({error}): run `dvc repro train`"
        ) from error
    found = (crosscoder.n_models, crosscoder.d_model, crosscoder.n_latents)
    expected = (config["n_models"], config["d_model"], config["n_latents"])
    if found != expected:
        raise ArtifactError(
            f"{folder / WEIGHTS} has (n_models, d_model, n_latents) {found}, but {CONFIG} says "
            f"{expected}: the two do not belong together, run `dvc repro train`"
        )
    crosscoder.provenance = config["provenance"]
    return crosscoder.eval().requires_grad_(False)


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed `config.json` of a crosscoder's folder."""
    path = folder / CONFIG
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise MissingArtifactError(f"{path} not found: run `dvc repro train`") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON ({error}): run `dvc repro train`") from error


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically: under a temporary name, flushed to disk, renamed."""
    temporary = path.with_name(f".{path.name}.tmp")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with clear_space_errors(path):
        safetensors.torch.save_file(plain, temporary, metadata=dict(metadata or {}))
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)


def read_slices(path: Path, wanted: Callable[[str], slice | None]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a safetensors file by name: of each the wanted rows of the first axis and no more
    of it read; all of it for `slice(None)`, nothing for None. ArtifactError where it is damaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - a file is no mapping
                rows = wanted(name)
                if rows == slice(None):
                    yield name, file.get_tensor(name)
                elif rows is not None:
                    yield name, file.get_slice(name)[rows]
    except (safetensors.SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): remove it and run again") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. ArtifactError where it is damaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): remove it and run again") from error
