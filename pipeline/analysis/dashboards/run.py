"""The dashboards: which latents get one, a pass over held-out rows, and the logit lens."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.analysis.dashboards.example_pass import SPARE, Kept, WindowShape, example_pass
from pipeline.analysis.dashboards.records import Ints, Records, choose
from pipeline.analysis.opening import Opened
from pipeline.crosscoder import Crosscoder
from pipeline.runtime import generator
from pipeline.stage import HELDOUT_ACTIVATIONS, TOKENS
from pipeline.text.pieces import Pieces


def make_records(opened: Opened) -> Records:
    """The dashboards of the chosen latents."""
    section, crosscoder = opened.config.dashboards, opened.crosscoder()
    latents = choose(opened.latents().to_dict("list"), section.n_latents)
    pieces = Pieces(opened.tokenizer)
    W_LMD = crosscoder.W_dec.detach()
    return Records(
        latents,
        _kept(opened, crosscoder, latents),
        norms_JM=crosscoder.decoder_norms().detach().cpu().numpy()[latents],
        lens=opened.lens(crosscoder.denormalise(W_LMD[latents]), section.n_lens_tokens),
        nearest=nearest_latents(W_LMD, latents, section.n_nearest),
        text_of=pieces.of,
        name_of=pieces.single,
        n_bands=section.n_bands,
        n_per_band=section.n_per_band,
    )


def _kept(opened: Opened, crosscoder: Crosscoder, latents: Ints) -> Kept:
    section = opened.config.dashboards
    with opened.reader(HELDOUT_ACTIVATIONS) as activations, opened.reader(TOKENS) as tokens:
        return example_pass(
            crosscoder,
            activations,
            tokens,
            latents,
            shape=WindowShape(
                before=section.tokens_before,
                after=section.tokens_after,
                n_top=section.n_top,
                n_sampled=SPARE * section.n_bands * section.n_per_band,
            ),
            n_rows=section.n_rows,
            batch_rows=section.batch_rows,
            random=generator(section.seed, "dashboards", "examples"),
            ranks=opened.ranks,
        )


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
