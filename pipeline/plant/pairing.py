"""What stands beside each base row: its IT row, or a null pair in which models differ in nothing.

    same       base row, base row
    noise      base row, base row * (1 + 2^-7 u), u uniform in [-1, 1]: one bfloat16 step
    swapped    base and IT row of one token, in an order that a fair coin decides
    mispaired  base row, base row of another token of the same block

In all of them both sides have the same concepts, so that no latent belongs to one of them. Under
`swapped` and `mispaired` they have them on different rows: one concept then makes two latents.
"""

import numpy as np

from pipeline.config.models import DumpConfig
from pipeline.plant.hashing import uniforms
from pipeline.plant.rows import Bits, Change, Labels, as_ints, to_bits, to_float
from pipeline.runtime import numpy_generator

BASE = 0
STEP = 2.0**-7
"""Largest relative step between neighbouring bfloat16 numbers."""


def pairing_of(config: DumpConfig) -> Change:
    """The change that `dump.pairing` asks for."""
    match config.pairing:
        case "matched":
            return lambda bits, _: bits
        case "same":
            return lambda bits, _: beside_base(bits, bits[:, BASE])
        case "noise":
            return lambda bits, labels: beside_base(bits, noisy(bits, labels, config.seed))
        case "swapped":
            return lambda bits, labels: swapped(bits, labels, config.seed)
        case "mispaired":
            return lambda bits, labels: beside_base(bits, other_rows(bits, labels, config.seed))


def beside_base(bits: Bits, it_rows: Bits) -> Bits:
    return np.stack([bits[:, BASE], it_rows], axis=1)


def noisy(bits: Bits, labels: Labels, seed: int) -> Bits:
    """Base rows [B, D] up to one step."""
    base = to_float(np.ascontiguousarray(bits[:, BASE]))
    u = _of_block(seed, "noise", labels).uniform(-1, 1, base.shape).astype(np.float32)
    return to_bits(base * (1 + np.float32(STEP) * u))


def swapped(bits: Bits, labels: Labels, seed: int) -> Bits:
    """Both rows of each token, exchanged where its coin says so."""
    coin = uniforms(seed, "swap", as_ints(labels, "sequence"), as_ints(labels, "position"))
    return np.where((coin < 0.5)[:, None, None], bits[:, ::-1], bits)


def other_rows(bits: Bits, labels: Labels, seed: int) -> Bits:
    """Base rows [B, D], each of another token: the block in random order, moved on by one."""
    order = _of_block(seed, "mispaired", labels).permutation(len(bits))
    moved = np.empty_like(order)
    moved[order] = np.roll(order, 1)
    return bits[moved, BASE]


def _of_block(seed: int, stream: str, labels: Labels) -> np.random.Generator:
    """Generator of the block that begins with this row: the same when a run resumes."""
    first = (str(int(labels[name][0])) for name in ("sequence", "position"))
    return numpy_generator(seed, "pairing", stream, *first)
