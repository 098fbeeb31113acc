"""Which latents write nearly the same as a given one, in both models at once.

Letters: L latents, J chosen latents, M models, D d_model, K neighbours.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

MAX_COSINES = 2**24
"""Cosines held at once: 64 MiB."""


@torch.inference_mode()
def nearest_latents(
    W_LMD: Tensor, latents_J: NDArray[np.integer], n_nearest: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Indices and cosines [J, K] of the latents with the highest joint decoder cosine,

        cos([d_base; d_it] of one, [d_base; d_it] of the other),

    the latent itself left out; a zero decoder has cosine 0 with everything.
    """
    joint_LP = normalize(W_LMD.flatten(1), dim=1)
    n_latents = len(joint_LP)
    chosen = torch.from_numpy(np.asarray(latents_J, np.int64)).to(joint_LP.device)
    step, n_kept = max(1, MAX_COSINES // n_latents), min(n_nearest, n_latents - 1)
    indices, cosines = [], []
    for part in chosen.split(step):
        cosine = joint_LP[part] @ joint_LP.T
        cosine[torch.arange(len(part), device=part.device), part] = -2
        top = cosine.topk(n_kept, dim=1)
        indices.append(top.indices.cpu().numpy())
        cosines.append(top.values.clamp(-1, 1).cpu().numpy())
    return np.concatenate(indices), np.concatenate(cosines)
