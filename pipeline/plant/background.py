"""A dense background like a residual stream's, and the rows of a planted store without models.

    row_m = mean_m + outlier * (sqrt(1 - noise) z A_m + sqrt(noise) e_m)

z is one draw of `rank` normal numbers for both models, with variances falling as a power; A_m are
orthonormal loadings of the two models at the stated cosine; e_m is noise of the model's own. The
factor `outlier` is 1 but on a few coordinates. Rows come in blocks of whole documents, each a pure
function of (seed, number of its first document), so that a resumed run draws the same.

Letters: B rows, M models, D d_model, R rank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.plant import SyntheticBackground
from pipeline.labels import OTHER, TEMPLATE
from pipeline.runtime import numpy_generator

Floats = NDArray[np.float32]
Labels = dict[str, NDArray[np.generic]]
BLOCK_ROWS = 8192
"""Rows of a block at least, rounded up to whole documents."""
N_TEMPLATE_ROWS = 2
"""Rows at the start of documents that stand for template tokens."""


@dataclass(frozen=True)
class Background:
    """The drawn constants of a synthetic background. mean_MD, outlier_D, loading_MRD."""

    config: SyntheticBackground
    seed: int
    mean_MD: Floats
    outlier_D: Floats
    loading_MRD: Floats

    @property
    def documents_per_block(self) -> int:
        return -(-BLOCK_ROWS // self.config.document_rows)

    def rows(self, documents: range) -> Floats:
        """[B, M, D] rows of whole documents, which must begin where a block does."""
        config = self.config
        random = numpy_generator(self.seed, "plant", "rows", str(documents.start))
        n = len(documents) * config.document_rows
        z = random.standard_normal((n, config.rank), dtype=np.float32)
        shape = (n, *self.mean_MD.shape)
        rows = random.standard_normal(shape, dtype=np.float32)
        rows *= np.float32(np.sqrt(config.noise_share))
        for m, loading_RD in enumerate(self.loading_MRD):
            rows[:, m] += z @ loading_RD
        rows *= self.outlier_D
        rows += self.mean_MD
        return rows

    def labels(self, documents: range) -> Labels:
        """What the store keeps per row: a document is a sequence, of the sources in turn."""
        length = self.config.document_rows
        document = np.repeat(np.array(documents, np.int32), length)
        position = np.tile(np.arange(1, length + 1, dtype=np.int32), len(documents))
        source = (document % len(self.config.sources)).astype(np.uint8)
        template = (source > 0) & (position <= N_TEMPLATE_ROWS)
        return {
            "source": source,
            "token_id": position.copy(),
            "sequence": document.copy(),
            "position": position,
            "document": document,
            "token_class": np.where(template, TEMPLATE, OTHER).astype(np.uint8),
        }


def draw_background(config: SyntheticBackground, seed: int) -> Background:
    """The constants of a background: of the configuration and the seed alone."""
    random = numpy_generator(seed, "plant", "background")
    d, rank = config.d_model, min(config.rank, config.d_model)
    outlier = np.ones(d)
    outlier[random.permutation(d)[: config.n_outliers]] = config.outlier_ratio
    mean = _related(random, (1, d), config.model_cosine)
    mean *= outlier * config.mean_norm * np.sqrt(d) / np.linalg.norm(mean[0])
    spectrum = np.arange(1, rank + 1.0) ** -config.spectrum_exponent
    scale = np.sqrt(spectrum / spectrum.sum() * d * (1 - config.noise_share))
    loading = _related(random, (rank, d), config.model_cosine)
    loading /= np.linalg.norm(loading, axis=-1, keepdims=True)
    return Background(
        config.model_copy(update={"rank": rank}),
        seed,
        mean[:, 0].astype(np.float32),
        outlier.astype(np.float32),
        (loading * scale[:, None]).astype(np.float32),
    )


def _related(
    random: np.random.Generator, shape: tuple[int, int], cosine: float
) -> NDArray[np.float64]:
    """[M, *shape] normal numbers of two models with this correlation."""
    first, other = random.standard_normal((2, *shape))
    return np.stack([first, cosine * first + np.sqrt(1 - cosine**2) * other])
