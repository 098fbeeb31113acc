"""Crosscoders at the start of training."""

import torch
from torch import Tensor

from pipeline.config.crosscoder import TrainableConfig
from pipeline.crosscoder.model import Crosscoder
from pipeline.distributed import ALONE, Ranks
from pipeline.runtime import generator

DRAWN_AT_ONCE = 1024
"""Latents drawn at once; any multiple of 16 gives the same numbers."""


def initial_crosscoder(
    config: TrainableConfig,
    *,
    n_models: int,
    d_model: int,
    activation_scale: Tensor,
    dtype: torch.dtype = torch.float32,
    latents: Ranks = ALONE,
) -> Crosscoder:
    """Random decoder vectors of one norm, the encoder their transpose, biases 0; on the CPU.

    The draw depends on `config.seed` and the shapes alone, not on device, threads or on which part
    of the latents this rank holds; the others' are drawn and dropped.
    """
    own = latents.part(config.n_latents)
    crosscoder = Crosscoder(n_models, d_model, len(own), kind=config.kind, dtype=dtype)
    n_drawn = 1 if config.decoder_init_shared else n_models
    random = generator(config.seed, "crosscoder")
    with torch.no_grad():
        for first in range(0, config.n_latents, DRAWN_AT_ONCE):
            n = min(DRAWN_AT_ONCE, config.n_latents - first)
            W_dec = torch.randn((n, n_drawn, d_model), generator=random, dtype=dtype)
            lower, upper = max(first, own.start), min(first + n, own.stop)
            if lower < upper:
                chosen = W_dec[lower - first : upper - first]
                crosscoder.W_dec[lower - own.start : upper - own.start] = chosen
        norms = crosscoder.decoder_norms()[:, :, None]
        crosscoder.W_dec.mul_(config.decoder_init_norm / norms)
        if config.kind == "dsf":
            shared = crosscoder.W_dec[: max(0, config.n_shared_latents - own.start)]
            shared.copy_(shared[:, :1].clone().expand_as(shared))
        crosscoder.W_enc_LP.copy_(crosscoder.W_dec_LP)
        crosscoder.activation_scale_M.copy_(activation_scale)
    return crosscoder
