"""The crc32c of bytes that several processes wrote, from those of each one's part.

A cyclic code is linear over bits: n zero bytes map the sum of what came before them by a fixed
32 x 32 matrix over bits, M^n, and the sums of two parts add up (Adler, zlib's crc32_combine).
"""

from functools import cache

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed as crc32c has them."""
WIDTH = 32
Matrix = tuple[int, ...]
"""Column i is what bit i is mapped to."""


def joined(first: int, second: int, n_bytes: int) -> int:
    """The crc32c of two runs of bytes, one after the other; n_bytes: of the second one."""
    for power, bit in enumerate(reversed(f"{n_bytes:b}")):
        if bit == "1":
            first = _times(_zeros(power), first)
    return first ^ second


@cache
def _zeros(power: int) -> Matrix:
    """What 2^power zero bytes do to a sum."""
    if power == 0:
        matrix = (POLYNOMIAL, *(1 << bit for bit in range(WIDTH - 1)))  # one zero bit
        for _ in range(3):
            matrix = _squared(matrix)
        return matrix
    return _squared(_zeros(power - 1))


def _squared(matrix: Matrix) -> Matrix:
    return tuple(_times(matrix, column) for column in matrix)


def _times(matrix: Matrix, vector: int) -> int:
    total = 0
    for bit, column in enumerate(matrix):
        if vector >> bit & 1:
            total ^= column
    return total
