"""Safetensors files: written atomically, read whole or in parts, an error where one is damaged."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipeline.artifacts import clear_space_errors, sync, temporary_name
from pipeline.errors import ArtifactError
from pipeline.paths import is_pointer, pointer_remedy


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file atomically: under a temporary name, flushed to disk, renamed."""
    temporary = temporary_name(path)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with clear_space_errors(path):
        # safetensors gives its file to its owner alone (mode 0600). An empty file tells what a
        # plain `open` gives here: what the umask leaves, or what the folder's default list says.
        temporary.touch()
        mode = temporary.stat().st_mode
        safetensors.torch.save_file(plain, temporary, metadata={})
        temporary.chmod(mode)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)


def read_slices(path: Path, wanted: Callable[[str], slice | None]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a safetensors file by name: of each the wanted rows of the first axis and no more
    of it read; all of it for `slice(None)`, nothing for None. ArtifactError where it is damaged."""
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118 - a file is no mapping
            rows = wanted(name)
            if rows == slice(None):
                yield name, file.get_tensor(name)
            elif rows is not None:
                yield name, file.get_slice(name)[rows]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, by name. ArtifactError where it is damaged."""
    return dict(read_slices(path, lambda name: slice(None)))  # noqa: ARG005 - all are wanted


def read_headers(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file by name, of its shape and empty: on the device "meta".
    ArtifactError where the file is damaged."""
    with _opened(path) as file:
        return {
            name: torch.empty(file.get_slice(name).get_shape(), device="meta")
            for name in file.keys()  # noqa: SIM118 - a file is no mapping
        }


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file to read. ArtifactError where it is damaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        if is_pointer(path):
            raise ArtifactError(pointer_remedy(path)) from error
        raise ArtifactError(f"{path} cannot be read ({error}): remove it and run again") from error
