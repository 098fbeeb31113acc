"""The buckets of successive rows, from any row on."""

import numpy as np

from pipeline.shuffle.permutation import Block, Permutation


class Deal:
    """Deals rows in input order."""

    def __init__(self, permutation: Permutation, next_row: int, block_filled: np.ndarray) -> None:
        self._n_buckets = permutation.n_buckets
        first = next_row // permutation.bucket_rows
        self._blocks = permutation.blocks(first, block_filled)
        self._row = next_row
        self._block: Block | None = None
        self.block_filled = block_filled

    def take(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Buckets of the next `n_rows` rows, and the rows in each bucket before them.

        Afterwards `block_filled` holds the rows per bucket before the block of the next row.
        """
        # Rows are asked for in loads, and dealt in blocks: a load begins in the middle of a block
        # and may go over several. Where it begins, every bucket holds what earlier blocks sent it
        # and what this block's rows before the load did.
        parts: list[np.ndarray] = []
        filled: np.ndarray | None = None
        stop = self._row + n_rows
        while self._row < stop:
            if self._block is None or self._row == self._block.stop:
                self._block = next(self._blocks)
            block = self._block
            at = self._row - block.start
            if filled is None:
                before = np.bincount(block.buckets[:at], minlength=self._n_buckets)
                filled = block.filled + before
            part = block.buckets[at : at + stop - self._row]
            parts.append(part)
            self._row += len(part)
        assert self._block is not None
        assert filled is not None
        # A later run takes the deal up at the block that the next row is in, because a block is
        # drawn whole: after a block's last row that is the next block, so its rows count too.
        self.block_filled = self._block.filled
        if self._row == self._block.stop:
            counts = np.bincount(self._block.buckets, minlength=self._n_buckets)
            self.block_filled = self._block.filled + counts
        return np.concatenate(parts), filled
