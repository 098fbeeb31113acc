"""The files of a crosscoder in a folder: which holds the weights, which tells what they are."""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.crosscoder.tensor_files import read_headers, read_tensors
from pipeline.crosscoder.weights import Shape, check_numbers
from pipeline.errors import ArtifactError, MissingArtifactError
from pipeline.paths import is_pointer, pointer_remedy

NAMES = (
    "weights.safetensors",  # this project
    "model.safetensors",  # crosscoder_learning, dictionary_learning on the Hub
    "cc_weights.pt",  # the reference on the Hub
    "model_final.pt",  # trainers of dictionary_learning, the first three
    "final.pt",
    "ae.pt",
)
"""Names of weights files by which one of several in a folder is taken."""

NUMBERED = re.compile(r"(?:\w+_)?(\d+)\.pt")
"""Checkpoints of trainers: `7.pt` of the reference's, `step_900.pt` of dictionary_learning's."""


@dataclass(frozen=True)
class Source:
    """A weights file, and what the JSON file beside it tells (None where there is none)."""

    path: Path
    told_by: Path | None
    config: Mapping[str, Any]

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the weights file, without the prefixes that `torch.compile` and
        PyTorch's wrapper for several processes leave."""
        if self.path.suffix == ".safetensors":
            return _unprefixed(read_tensors(self.path))
        return _unprefixed(read_state_dict(self.path, device="cpu"))

    @cached_property
    def headers(self) -> dict[str, Tensor]:
        """The same tensors empty, on the device "meta": no value is read."""
        if self.path.suffix == ".safetensors":
            return _unprefixed(read_headers(self.path))
        return _unprefixed(read_state_dict(self.path, device="meta"))


def _unprefixed(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named = {name: name.replace("_orig_mod.", "").removeprefix("module.") for name in raw}
    twice = sorted(name for name, n in Counter(named.values()).items() if n > 1)
    if twice:
        raise ArtifactError(
            f"it holds {', '.join(twice)} twice, with and without a prefix: keep one of the "
            "two, and write the file again"
        )
    return {named[name]: tensor for name, tensor in raw.items()}


def find(path: Path) -> Source:
    """The weights at `path`: a file, or a folder with one, or with numbered ones, of which the
    last is taken. MissingArtifactError where there is none."""
    if not path.exists():
        raise MissingArtifactError(
            f"{path} not found, expected a crosscoder's folder or weights file: name another path, "
            "or run `dvc repro train` where the pipeline is to make it"
        )
    weights = path if path.is_file() else _in_folder(path)
    folder = weights.parent
    names = (f"{weights.stem}_cfg.json", "cfg.json", "config.json")
    told_by = next((folder / name for name in names if (folder / name).exists()), None)
    return Source(weights, told_by, read_json(told_by) if told_by else {})


def _in_folder(folder: Path) -> Path:
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    numbered = [
        (int(found[1]), file)
        for file in folder.glob("*.pt")
        if (found := NUMBERED.fullmatch(file.name))
    ]
    if not numbered:
        raise MissingArtifactError(
            f"{folder} holds no crosscoder: expected {', '.join(NAMES)} or numbered checkpoints "
            "(7.pt): run `dvc repro train`, or name another folder or the weights file itself"
        )
    return max(numbered)[1]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. ArtifactError where the file holds something else."""
    try:
        parsed = json.loads(path.read_text())
    except (ValueError, RecursionError, OSError) as error:
        raise ArtifactError(
            f"{path} is not JSON ({error}): write or download the crosscoder again"
        ) from error
    if not isinstance(parsed, dict):
        raise ArtifactError(
            f"{path} holds a JSON {type(parsed).__name__}, expected an object: write or download "
            "the crosscoder again"
        )
    return parsed


def read_state_dict(path: Path, *, device: str) -> dict[str, Tensor]:
    """The tensors of a file of `torch.save`, whose pickle is let build tensors and nothing else;
    without their values on the device "meta".

    PyTorch's own messages are not repeated: they advise how to run what the file asks for.
    """
    try:
        raw = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch.load raises what the damaged archive makes it raise
        if is_pointer(path):
            raise ArtifactError(pointer_remedy(path)) from error
        raise ArtifactError(
            f"{path} is no state dict of tensors: it is damaged, of another kind, or asks for "
            f"objects whose making may run any code, which is refused ({type(error).__name__}): "
            "write `torch.save(crosscoder.state_dict(), path)` where it was trained, or download "
            "it again"
        ) from error
    is_named = isinstance(raw, dict) and all(isinstance(name, str) for name in raw)
    if not is_named or not all(isinstance(value, Tensor) for value in raw.values()):
        raise ArtifactError(
            f"{path} is no state dict of tensors, but a {type(raw).__name__} that holds other "
            "things too: write `torch.save(crosscoder.state_dict(), path)` where it was trained"
        )
    return raw


def take(tensors: Mapping[str, Tensor], *names: str) -> list[Tensor]:
    """The named tensors. ArtifactError where one is not there, or is none of plain numbers: what
    converts them drops the rest of a complex or a packed one without a word."""
    check_held(tensors, *names)
    for name in names:
        check_numbers(name, tensors[name])
    return [tensors[name] for name in names]


def check_held(held: Collection[str], *names: str) -> None:
    """Raise ArtifactError where a file that has tensors of the names `held` lacks one."""
    missing = [name for name in names if name not in held]
    if missing:
        raise ArtifactError(
            f"it lacks {', '.join(missing)} (it has {', '.join(sorted(held)) or 'nothing'}): "
            "this is not a crosscoder of a layout that is read here"
        )


def whole_number(name: str, value: Any) -> int:
    """A count that a file tells, as a number or a tensor of one. ArtifactError where it is none."""
    found = value.flatten().tolist() if isinstance(value, Tensor) else [value]
    is_whole = len(found) == 1 and isinstance(found[0], int | float) and found[0] == found[0] // 1
    if not is_whole or isinstance(found[0], bool) or found[0] < 0:
        told = found[0] if len(found) == 1 else found
        raise ArtifactError(f"{name} is {told!r:.60}, expected a whole number: correct it")
    return int(found[0])


def check_told(told: Mapping[str, Any], shape: Shape, told_by: Path | None) -> None:
    """Raise ArtifactError where the JSON file says another size than the tensors have.

    told: n_models, d_model, n_latents as the file has them; None is not told
    """
    for name, found in zip(("n_models", "d_model", "n_latents"), shape, strict=True):
        if told[name] is not None and told[name] != found:
            raise ArtifactError(
                f"{told_by} says that {name} is {told[name]!r}, but the tensors have {found}: the "
                "two files do not belong together, write or download the crosscoder again"
            )
