"""Decoder geometries of our choosing."""

import numpy as np

from pipeline.analysis.decoders.geometry import Geometry, decoder_geometry


def plain_geometry(n_latents: int, *, it_only: int = 0) -> Geometry:
    """Unit decoders alike in both models; the first `it_only` latents have no base decoder."""
    W = np.ones((n_latents, 2, 1))
    W[:it_only, 0] = 0.0
    return decoder_geometry(W)
