"""Crosscoders at the start of training."""

import torch
from torch import Tensor

from pipeline.config.crosscoder import TrainableConfig
from pipeline.crosscoder.model import Crosscoder
from pipeline.runtime import generator


def initial_crosscoder(
    config: TrainableConfig,
    *,
    n_models: int,
    d_model: int,
    activation_scale: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Crosscoder:
    """Random decoder vectors of one norm, the encoder their transpose, biases 0; on the CPU.

    The draw depends on `config.seed` and the shapes alone, not on device or threads.
    """
    crosscoder = Crosscoder(n_models, d_model, config.n_latents, kind=config.kind, dtype=dtype)
    n_drawn = 1 if config.decoder_init_shared else n_models
    shape = (config.n_latents, n_drawn, d_model)
    W_dec = torch.randn(shape, generator=generator(config.seed, "crosscoder"), dtype=dtype)
    W_dec *= config.decoder_init_norm / torch.linalg.vector_norm(W_dec, dim=-1, keepdim=True)
    with torch.no_grad():
        crosscoder.W_dec.copy_(W_dec)
        if config.kind == "dsf":
            crosscoder.W_dec[: config.n_shared_latents] = W_dec[: config.n_shared_latents, :1]
        crosscoder.W_enc_LP.copy_(crosscoder.W_dec_LP)
        crosscoder.activation_scale_M.copy_(activation_scale)
    return crosscoder
