"""How the payload of a chunk becomes the bytes of its file, checksum apart.

The levels are the fastest that each compressor is usually run at: above them bfloat16 activations
hardly shrink, because half of their bits are noise (`docs/performance.md`, "Codecs").
"""

from functools import cache
from typing import Any

import numpy as np

CODECS = ("none", "zstd", "blosc_lz4")
ZSTD_LEVEL = 1
BLOSC_LEVEL = 5


def zarr_codecs(codec: str, dtype: np.dtype) -> list[dict[str, Any]]:
    """The codec chain of an array's Zarr v3 metadata: bytes, compression, crc32c."""
    endian = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {}
    compression: dict[str, list[dict[str, Any]]] = {
        "none": [],
        "zstd": [{"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}],
        "blosc_lz4": [
            {
                "name": "blosc",
                "configuration": {
                    "cname": "lz4",
                    "clevel": BLOSC_LEVEL,
                    "shuffle": "bitshuffle",
                    "typesize": dtype.itemsize,
                    "blocksize": 0,
                },
            }
        ],
    }
    return [{"name": "bytes", **endian}, *compression[codec], {"name": "crc32c"}]


def encode(codec: str, payload: np.ndarray) -> Any:
    """Compressed bytes of a C-contiguous chunk. Not used for `none`, which is written in place."""
    return _numcodec(codec, payload.dtype.itemsize).encode(payload.reshape(-1))


def decode_into(codec: str, coded: Any, payload: np.ndarray) -> None:
    """Fill a C-contiguous chunk from its coded bytes. Not used for `none`, which is read in place.

    Raises ValueError or RuntimeError where the bytes cannot be decoded to the chunk's size.
    """
    target = payload.reshape(-1).view(np.uint8)
    # Decoded apart and copied: given a target that is too long, both codecs fill a part of it.
    plain = np.frombuffer(_numcodec(codec, payload.dtype.itemsize).decode(coded), np.uint8)
    if plain.size != target.size:
        raise ValueError(f"{plain.size} bytes decoded, {target.size} expected")
    target[:] = plain


@cache
def _numcodec(codec: str, itemsize: int) -> Any:
    from numcodecs.blosc import BITSHUFFLE, Blosc
    from numcodecs.zstd import Zstd

    if codec == "zstd":
        return Zstd(level=ZSTD_LEVEL)
    return Blosc("lz4", clevel=BLOSC_LEVEL, shuffle=BITSHUFFLE, typesize=itemsize)
