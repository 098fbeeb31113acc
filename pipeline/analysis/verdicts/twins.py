"""Twins: the latent that has, in the other model, the direction of one that looks exclusive.

A concept that both models have on different rows (a fine-tuned model that uses it in more contexts,
say, or a pair whose rows do not belong together) becomes two latents, each rightly silent in the
other model on its own rows. An exclusive verdict claims that the other model has no such concept,
and a twin denies it: Latent Decoupling (Minder et al. 2025, arXiv 2504.02922) that nu cannot see.

Letters: L latents, M models, D d_model, E latents that look exclusive.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from pipeline.config.analysis import LatentScalingConfig

if TYPE_CHECKING:
    import pandas as pd

EXCLUSIVE = {"base_only": 0, "it_only": 1}
LATENTS_AT_ONCE = 1024


@dataclass(frozen=True)
class TwinRule:
    """min_cosine: of the twin's decoder in the other model with the latent's own
    max_rate_ratio: of the rows on which the two are active, the larger over the smaller
    min_active: rows on which a twin must be active
    min_share: of the twin's longer decoder that its decoder in the other model must have
    """

    min_cosine: float
    max_rate_ratio: float
    min_active: int
    min_share: float

    @classmethod
    def of(cls, section: LatentScalingConfig) -> Self:
        """As `latent_scaling` of the configuration says."""
        return cls(
            min_cosine=section.twin_cosine,
            max_rate_ratio=section.twin_rate_ratio,
            min_active=section.min_active_rows,
            min_share=section.max_nu_error,
        )


def twins(
    W_dec_LMD: Tensor, model_E: Tensor, latent_E: Tensor, n_active_L: Tensor, rule: TwinRule
) -> Tensor:
    """[E] the twin of each latent latent_E that looks like model model_E's own, -1: none."""
    norm_LM = W_dec_LMD.norm(dim=2)
    unit_LMD = W_dec_LMD / norm_LM.clamp_min(1e-30)[:, :, None]
    writes_LM = norm_LM >= rule.min_share * norm_LM.amax(dim=1, keepdim=True)
    found = []
    for latent, model in zip(
        latent_E.split(LATENTS_AT_ONCE), model_E.split(LATENTS_AT_ONCE), strict=True
    ):
        own_ED = unit_LMD[latent, model]
        cosine_EL = torch.where(
            (model == 1)[:, None], own_ED @ unit_LMD[:, 0].T, own_ED @ unit_LMD[:, 1].T
        )
        ratio_EL = n_active_L[None] / n_active_L[latent, None]
        possible = (n_active_L >= rule.min_active) & writes_LM[:, 1 - model].T
        possible &= (ratio_EL <= rule.max_rate_ratio) & (ratio_EL >= 1 / rule.max_rate_ratio)
        possible[torch.arange(len(latent)), latent] = False
        best, twin = cosine_EL.masked_fill(~possible, -2.0).max(dim=1)
        found.append(torch.where(best >= rule.min_cosine, twin, -1))
    return torch.cat(found) if found else latent_E.new_zeros(0)


def refute_twinned(table: "pd.DataFrame", W_dec_LMD: Tensor, rule: TwinRule) -> "pd.DataFrame":
    """The table of verdicts with the column `twin`; exclusive latents that have one have
    moved."""
    exclusive = table["verdict"].isin(EXCLUSIVE).to_numpy()
    model = torch.tensor(table.loc[exclusive, "verdict"].map(EXCLUSIVE).to_numpy().astype("int64"))
    latent = torch.from_numpy(exclusive.nonzero()[0])
    n_active = torch.from_numpy(table["n_active"].to_numpy().astype("float32"))
    twin = twins(W_dec_LMD.float().cpu(), model, latent, n_active, rule)
    table = table.copy()
    table.loc[exclusive, "twin"] = twin.numpy()
    twinned = table["twin"] >= 0
    table.loc[twinned, "verdict"], table.loc[twinned, "in_both"] = "moved", True
    table.loc[twinned, "p_exclusive"] = 1.0  # or their small p-values would vouch for the others
    table.loc[twinned & table["norm_bin"].isin(EXCLUSIVE), "artefact"] = "latent_decoupling"
    return table
