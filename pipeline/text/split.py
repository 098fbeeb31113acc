"""The split into train and held-out documents, by a keyed hash of the document's id."""

import hashlib
from dataclasses import dataclass

from pipeline.labels import HELDOUT, TRAIN

HASH_BYTES = 8


@dataclass(frozen=True)
class Selection:
    """One side of the split of every source.

    split: TRAIN or HELDOUT; seed: key of the hash
    """

    split: int
    heldout_fraction: float
    seed: int

    def keeps(self, document_id: int, source_name: str) -> bool:
        """Whether the document is on this side."""
        side = split_of(document_id, source_name, self.heldout_fraction, self.seed)
        return side == self.split


def split_of(document_id: int, source_name: str, heldout_fraction: float, seed: int) -> int:
    """TRAIN or HELDOUT, the same wherever and whenever it is asked."""
    key = f"{seed}/{source_name}/{document_id}".encode()
    digest = hashlib.blake2b(key, digest_size=HASH_BYTES).digest()
    fraction = int.from_bytes(digest, "little") / 2 ** (8 * HASH_BYTES)
    return HELDOUT if fraction < heldout_fraction else TRAIN
