"""A store of planted rows without any model: a synthetic background, features on top, paired."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.plant import PlantConfig
from pipeline.labels import TOKEN_CLASSES
from pipeline.plant.background import Background, draw_background
from pipeline.plant.features import draw_features
from pipeline.plant.rows import Change, Plant, spread_norm, to_bits
from pipeline.progress import Progress
from pipeline.store import OpenWriter, activation_layout

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Synthetic:
    """Everything that decides the rows but their pairing."""

    background: Background
    plant: Plant

    @classmethod
    def draw(cls, config: PlantConfig) -> "Synthetic":
        """The background and the features of a configuration whose background is synthetic."""
        assert config.background.kind == "synthetic"
        background = draw_background(config.background, config.seed)
        first = background.rows(range(background.documents_per_block))
        features = draw_features(config, config.background.d_model, config.background.sources)
        return cls(background, Plant(features, spread_norm(first)))

    @property
    def d_model(self) -> int:
        return self.background.config.d_model

    def documents(self, *, heldout: bool) -> range:
        """Numbers of the documents of a split: held-out ones begin a block after the training's."""
        config, step = self.background.config, self.background.documents_per_block
        n_train = -(-config.n_rows // config.document_rows)
        if not heldout:
            return range(n_train)
        first = -(-n_train // step) * step
        return range(first, first - (-config.n_heldout_rows // config.document_rows))

    def blocks(self, documents: range, pairing: Change, first_row: int) -> Iterator[Arrays]:
        """Arrays of the store for the rows of `documents` from `first_row` on, block by block."""
        length, step = self.background.config.document_rows, self.background.documents_per_block
        n_done, skip = divmod(first_row, length * step)
        for start in range(documents.start + n_done * step, documents.stop, step):
            block = range(start, min(start + step, documents.stop))
            labels = self.background.labels(block)
            rows = to_bits(self.plant.added(self.background.rows(block), labels))
            arrays = {"activations": pairing(rows, labels), **labels}
            yield {name: array[skip:] for name, array in arrays.items()}
            skip = 0


def write_rows(
    open_writer: OpenWriter,
    synthetic: Synthetic,
    documents: range,
    pairing: Change,
    *,
    rows_per_chunk: int,
    codec: str,
    progress_name: str,
) -> dict[str, int]:
    """Write the rows of `documents`, or go on with them; the counts."""
    n_rows = len(documents) * synthetic.background.config.document_rows
    layout = activation_layout(
        2,
        synthetic.d_model,
        rows_per_chunk,
        codec,
        sources=synthetic.background.config.sources,
    )
    with open_writer(layout, n_rows) as writer:
        if not writer.sealed:
            first = writer.next_row
            with Progress(progress_name, total=n_rows, unit="rows", start=first) as progress:
                for arrays in synthetic.blocks(documents, pairing, first):
                    writer.append(arrays)
                    progress.advance(len(arrays["source"]))
            writer.finish()
    return {"n_rows": n_rows, "n_sequences": len(documents), **_counts(synthetic, documents)}


def _counts(synthetic: Synthetic, documents: range) -> dict[str, int]:
    labels, sources = synthetic.background.labels(documents), synthetic.background.config.sources
    return {
        f"n_{name}_rows": int((labels[array] == code).sum())
        for array, names in (("source", sources), ("token_class", TOKEN_CLASSES))
        for code, name in enumerate(names)
    }
