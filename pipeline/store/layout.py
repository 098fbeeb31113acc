"""What a store holds: named arrays with one leading axis `row`, cut into chunks of equal rows.

The metadata written here is plain Zarr v3, so that any Zarr library opens a store.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.labels import MODELS, SPLITS, TOKEN_CLASSES
from pipeline.store.codecs import zarr_codecs

# NaN in bfloat16: a hole that some other tool reads as fill value shows at once.
ACTIVATION_FILL = 0xFFFF
NO_INT = -1
NO_LABEL = 255


@dataclass(frozen=True)
class ArraySpec:
    """One array `[row, *shape]` of a store.

    dtype: NumPy name; shape: without the leading axis; dimensions: names of the axes of `shape`
    fill_value: what pads the last chunk
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    dimensions: tuple[str, ...] = ()
    fill_value: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class StoreLayout:
    """The arrays of a store, their common chunk length in rows, and how chunks are coded.

    codec: `none`, `zstd` or `blosc_lz4`; every chunk ends in the crc32c of its coded bytes
    """

    arrays: tuple[ArraySpec, ...]
    rows_per_chunk: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    codec: str = "none"

    @cached_property
    def by_name(self) -> dict[str, ArraySpec]:
        return {spec.name: spec for spec in self.arrays}

    def __getitem__(self, name: str) -> ArraySpec:
        return self.by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.arrays)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row over all arrays, uncompressed."""
        return sum(spec.row_bytes for spec in self.arrays)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk of every array, uncompressed."""
        return self.row_bytes * self.rows_per_chunk

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that the rows come from, in the order of their codes."""
        return tuple(self["source"].attributes["labels"])

    def n_chunks(self, n_rows: int) -> int:
        return -(-n_rows // self.rows_per_chunk)

    def chunk_path(self, name: str, index: int) -> str:
        """Path of a chunk file below the store: Zarr v3's default key encoding."""
        return f"{name}/c/{index}" + "/0" * len(self.by_name[name].shape)

    def to_json(self) -> dict[str, Any]:
        """The layout as plain data, equal for equal layouts and for no others."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "StoreLayout":
        arrays = tuple(
            ArraySpec(**{**a, "shape": tuple(a["shape"]), "dimensions": tuple(a["dimensions"])})
            for a in plain["arrays"]
        )
        return cls(arrays, plain["rows_per_chunk"], plain["attributes"], plain["codec"])


def array_metadata(layout: StoreLayout, name: str, n_rows: int) -> dict[str, Any]:
    """Contents of `<array>/zarr.json`."""
    spec = layout[name]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [n_rows, *spec.shape],
        "data_type": spec.dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [layout.rows_per_chunk, *spec.shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": spec.fill_value,
        "codecs": zarr_codecs(layout.codec, np.dtype(spec.dtype)),
        "attributes": dict(spec.attributes),
        "dimension_names": ["row", *spec.dimensions],
        "storage_transformers": [],
    }


def group_metadata(layout: StoreLayout, n_rows: int) -> dict[str, Any]:
    """Contents of the group's `zarr.json`, the arrays' metadata consolidated in it."""
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": dict(layout.attributes),
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": {name: array_metadata(layout, name, n_rows) for name in layout.names},
        },
    }


def activation_layout(
    n_models: int,
    d_model: int,
    rows_per_chunk: int,
    codec: str = "none",
    *,
    sources: Sequence[str] = (),
) -> StoreLayout:
    """Paired activations `[row, model, d_model]` and what makes each row findable again.

    A row is one token at the hook point; `sequence` and `position` say where it stood. sources:
    names of what the codes of `source` stand for
    """
    activations = ArraySpec(
        "activations",
        "uint16",
        (n_models, d_model),
        ("model", "d_model"),
        ACTIVATION_FILL,
        {"dtype": "bfloat16", "models": list(MODELS) if n_models == len(MODELS) else []},
    )
    return StoreLayout(
        arrays=(
            activations,
            ArraySpec("source", "uint8", (), (), NO_LABEL, {"labels": list(sources)}),
            ArraySpec("token_id", "int32", fill_value=NO_INT),
            ArraySpec("sequence", "int32", fill_value=NO_INT),
            ArraySpec("position", "int32", fill_value=NO_INT),
            ArraySpec("document", "int32", fill_value=NO_INT),
            ArraySpec("token_class", "uint8", (), (), NO_LABEL, {"labels": list(TOKEN_CLASSES)}),
        ),
        rows_per_chunk=rows_per_chunk,
        codec=codec,
    )


def token_layout(
    sequence_length_tokens: int, rows_per_chunk: int, *, sources: Sequence[str] = ()
) -> StoreLayout:
    """Packed sequences: a row is one sequence, arrays are `[row, position]` (`split`: `[row]`)."""
    shape, axes = (sequence_length_tokens,), ("position",)
    return StoreLayout(
        arrays=(
            ArraySpec("token_id", "int32", shape, axes, NO_INT),
            ArraySpec("document", "int32", shape, axes, NO_INT),
            ArraySpec("source", "uint8", shape, axes, NO_LABEL, {"labels": list(sources)}),
            ArraySpec("token_class", "uint8", shape, axes, NO_LABEL, {"labels": [*TOKEN_CLASSES]}),
            ArraySpec("split", "uint8", (), (), NO_LABEL, {"labels": list(SPLITS)}),
        ),
        rows_per_chunk=rows_per_chunk,
    )
