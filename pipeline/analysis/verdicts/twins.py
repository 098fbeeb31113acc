"""Twins: the latent that has, in the other model, the direction of one that looks exclusive.

A concept that both models have on different rows (a fine-tuned model that uses it in more contexts,
say, or a pair whose rows do not belong together) becomes two latents, each rightly silent in the
other model on its own rows. An exclusive verdict claims that the other model has no such concept,
and a twin denies it: Latent Decoupling (Minder et al. 2025, arXiv 2504.02922) that nu cannot see.

Letters: L latents, M models, D d_model, E latents that look exclusive.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.config.analysis import LatentScalingConfig

if TYPE_CHECKING:
    import pandas as pd

EXCLUSIVE = {"base_only": 0, "it_only": 1}
LATENTS_AT_ONCE = 1024


def twins(
    W_dec_LMD: Tensor,
    model_E: Tensor,
    latent_E: Tensor,
    n_active_L: Tensor,
    section: LatentScalingConfig,
) -> Tensor:
    """[E] the twin of each latent latent_E that looks like model model_E's own, -1: none.

    Its decoder in the other model has `twin_cosine` with the latent's own, and `max_nu_error` of
    the length of its longer one; it is active on rows enough, about as often as the latent.
    """
    norm_LM = W_dec_LMD.norm(dim=2)
    unit_LMD = W_dec_LMD / norm_LM.clamp_min(1e-30)[:, :, None]
    writes_LM = norm_LM >= section.max_nu_error * norm_LM.amax(dim=1, keepdim=True)
    found = []
    for latent, model in zip(
        latent_E.split(LATENTS_AT_ONCE), model_E.split(LATENTS_AT_ONCE), strict=True
    ):
        own_ED = unit_LMD[latent, model]
        cosine_EL = torch.where(
            (model == 1)[:, None], own_ED @ unit_LMD[:, 0].T, own_ED @ unit_LMD[:, 1].T
        )
        ratio_EL = n_active_L[None] / n_active_L[latent, None]
        possible = (n_active_L >= section.min_active_rows) & writes_LM[:, 1 - model].T
        possible &= (ratio_EL <= section.twin_rate_ratio) & (
            ratio_EL >= 1 / section.twin_rate_ratio
        )
        possible[torch.arange(len(latent)), latent] = False
        best, twin = cosine_EL.masked_fill(~possible, -2.0).max(dim=1)
        found.append(torch.where(best >= section.twin_cosine, twin, -1))
    return torch.cat(found) if found else latent_E.new_zeros(0)


def refute_twinned(
    table: "pd.DataFrame", W_dec_LMD: Tensor, section: LatentScalingConfig
) -> "pd.DataFrame":
    """The table of verdicts with the column `twin`; exclusive latents that have one have
    moved."""
    exclusive = table["verdict"].isin(EXCLUSIVE).to_numpy()
    model = torch.tensor(table.loc[exclusive, "verdict"].map(EXCLUSIVE).to_numpy().astype("int64"))
    latent = torch.from_numpy(exclusive.nonzero()[0])
    n_active = torch.from_numpy(table["n_active"].to_numpy().astype("float32"))
    twin = twins(W_dec_LMD.float().cpu(), model, latent, n_active, section)
    table = table.copy()
    table.loc[exclusive, "twin"] = twin.numpy()
    twinned = table["twin"] >= 0
    table.loc[twinned, "verdict"], table.loc[twinned, "in_both"] = "moved", True
    table.loc[twinned, "p_exclusive"] = 1.0  # or their small p-values would vouch for the others
    table.loc[twinned & table["norm_bin"].isin(EXCLUSIVE), "artefact"] = "latent_decoupling"
    return table
