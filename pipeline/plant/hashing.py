"""Random numbers that are a pure function of where they are used: no state, any order, any batch.

Numbers of a stream are indexed by (sequence, position, item), so that a row's numbers are the same
whichever rows are drawn beside it, and a resumed or parallel run draws the same.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime import stream_seed

Floats = NDArray[np.float64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: each bit of the result depends on each bit of x. In place."""
    for shift, factor in zip((30, 27), MIX, strict=True):
        x ^= x >> np.uint64(shift)
        x *= factor
    x ^= x >> np.uint64(31)
    return x


def keys(seed: int, stream: str, *indices: NDArray[np.integer]) -> NDArray[np.uint64]:
    """A 64-bit hash of the stream and each tuple of the broadcast index arrays."""
    key = np.array(stream_seed(seed, "plant", stream), np.uint64)
    with np.errstate(over="ignore"):
        for index in indices:
            key = mixed((key * GOLDEN) ^ (index.astype(np.uint64) + GOLDEN))
    return key


def uniforms(seed: int, stream: str, *indices: NDArray[np.integer]) -> Floats:
    """Numbers in [0, 1) of the named stream at the broadcast indices."""
    return (keys(seed, stream, *indices) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(seed: int, stream: str, *indices: NDArray[np.integer]) -> Floats:
    """Standard normal numbers of the named stream at the broadcast indices (Box and Muller)."""
    radius = np.sqrt(-2 * np.log1p(-uniforms(seed, f"{stream}/radius", *indices)))
    return radius * np.cos(2 * np.pi * uniforms(seed, f"{stream}/angle", *indices))
