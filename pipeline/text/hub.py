"""Rows of a dataset of the Hugging Face hub, streamed."""

import os
from collections.abc import Iterator
from typing import Any

from pipeline.config.text import HubSourceConfig
from pipeline.errors import SourceError
from pipeline.paths import located

GATED_SIGNS = ("gated", "401", "403", "authenticated", "restricted")


def read_rows(
    spec: HubSourceConfig, name: str, field: str, start: int = 0
) -> Iterator[dict[str, Any]]:
    """Rows of the dataset from row `start` on, of each the column `field` alone.

    Raises SourceError, with the remedy, where the dataset is gated, unknown or out of reach.
    """
    try:
        yield from _stream(spec, field).skip(start)
    except SourceError:
        raise
    except Exception as error:  # datasets and its transports raise many types
        raise SourceError(_explain(spec, name, error)) from error


def resolve_revision(spec: HubSourceConfig, name: str) -> str:
    """The commit that `revision` stands for now; "local" for a folder."""
    if located(spec.dataset).is_dir():
        return "local"
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(spec.dataset, revision=spec.revision).sha)
    except Exception as error:  # as above
        raise SourceError(_explain(spec, name, error)) from error


def _stream(spec: HubSourceConfig, field: str) -> Any:
    from datasets import load_dataset_builder

    _support_zst()
    folder = located(spec.dataset)
    is_local = folder.is_dir()
    builder = load_dataset_builder(
        str(folder) if is_local else spec.dataset,
        name=spec.subset,
        revision=None if is_local else spec.revision,
    )
    stream: Any = builder.as_streaming_dataset(split=spec.split)
    if field in (stream.features or ()):
        # Other columns may change their type from file to file: they are neither cast to the type
        # of the first file nor turned into Python.
        builder.info.features = None
        stream = stream.select_columns([field])
    return stream


def _support_zst() -> None:
    """Let datasets read .zst, in which the Pile is kept, through pyarrow."""
    import pyarrow as pa
    from fsspec.compression import compr, register_compression

    def open_zst(file: Any, _mode: str = "rb", **_: Any) -> Any:
        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")

    if "zstd" not in compr:
        register_compression("zstd", open_zst, "zst")


def _explain(spec: HubSourceConfig, name: str, error: Exception) -> str:
    shown = str(error).strip().split("\n")[0]
    what = (
        f"sources.{name}: dataset {spec.dataset!r} (subset {spec.subset}, split {spec.split!r}, "
        f"revision {spec.revision!r}) cannot be read: {type(error).__name__}: {shown}"
    )
    if any(sign in str(error).lower() for sign in GATED_SIGNS):
        page = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/datasets/{spec.dataset}"
        return f"{what}: accept its terms at {page}, then run `huggingface-cli login`"
    if isinstance(error, ValueError):
        return f"{what}: correct subset or split"
    return (
        f"{what}: check the name, the revision and the network, run `huggingface-cli login` if it "
        f"is gated, or use local files (sources.{name}.kind=files)"
    )
