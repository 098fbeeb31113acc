"""The list that each method gives, as entries with a direction and an activity per row.

relative_norm    latents that norms call exclusive, the most one-sided first
decoder_cosine   the other live latents, the lowest cosine of the decoders first
verdicts         latents whose verdict is not shared, by what leaving each out costs
leave_one_out    latents by what leaving each out costs (see `latent_costs`)
diff_sae         latents of the dictionary of the difference alone, likewise
mean_difference  one entry, on every row
changes          the list of `stages.changes`

A latent's direction is that of its decoders' difference, its activity f times that difference's
length. Lists of latents end at the share of the difference at which the list of changes ends.

Letters: T rows, L latents, M models, D d_model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.changes.lines import differences
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.decoders.geometry import EXCLUSIVE_BINS
from pipeline.analysis.edits.score import Entry
from pipeline.config.changes import ChangesConfig
from pipeline.crosscoder import Crosscoder

if TYPE_CHECKING:
    import pandas as pd

KIND_OF_VERDICT = {
    "it_only": "new",
    "base_only": "lost",
    **{verdict: verdict for verdict in ("moved", "turned", "stronger", "weaker")},
}
MAX_LATENTS = 100
"""Entries looked at of a list of latents that has no end of its own."""


@torch.inference_mode()
def latent_lists(
    crosscoder: Crosscoder, x_TMD: Tensor, table: "pd.DataFrame", min_share: float
) -> dict[str, list[Entry]]:
    """The lists of latents. table: `results/latents.parquet`"""
    f_TL = crosscoder.latents(x_TMD)
    delta_LD = crosscoder.decoder_difference()
    share_L = latent_costs(crosscoder, f_TL, delta_LD, x_TMD).numpy()
    column = {name: table[name].to_numpy() for name in table.columns}
    exclusive = np.isin(column["norm_bin"], EXCLUSIVE_BINS)
    kinds = [KIND_OF_VERDICT.get(str(verdict), "") for verdict in column["verdict"]]
    live = (column["verdict"] != "dead") & (share_L > min_share)
    orders = {
        "relative_norm": (-np.abs(column["relative_norm"] - 0.5), exclusive),
        "decoder_cosine": (column["decoder_cosine"], ~exclusive),
        "verdicts": (-share_L, np.array([kind != "" for kind in kinds])),
        "leave_one_out": (-share_L, live),
    }
    lists = {}
    for name, (key, among) in orders.items():
        chosen = np.flatnonzero(live & among)
        order = chosen[np.argsort(key[chosen], kind="stable")][:MAX_LATENTS]
        lists[name] = [_entry(f_TL, delta_LD, int(latent), kinds) for latent in order]
    return lists


@torch.inference_mode()
def diff_sae_list(diff_sae: Crosscoder, x_TMD: Tensor, min_share: float) -> list[Entry]:
    """The list of the diff-SAE's latents by what leaving each out costs."""
    delta_TD = differences(x_TMD)
    f_TL = diff_sae.latents(delta_TD[:, None])
    direction_LD = diff_sae.W_dec.detach()[:, 0] / diff_sae.activation_scale
    left_TD = delta_TD - diff_sae.denormalise(diff_sae.decode(f_TL))[:, 0]
    share_L = _costs(f_TL, direction_LD, left_TD) / delta_TD.square().sum()
    order = share_L.argsort(descending=True, stable=True)[:MAX_LATENTS].tolist()
    kinds = [""] * len(share_L)
    return [
        _entry(f_TL, direction_LD, latent, kinds) for latent in order if share_L[latent] > min_share
    ]


def latent_costs(crosscoder: Crosscoder, f_TL: Tensor, delta_LD: Tensor, x_TMD: Tensor) -> Tensor:
    """[L] share of the difference that leaving each latent out of the crosscoder's difference
    costs, sum_t (2 f <delta, r> + f^2 |delta|^2) / sum_t |Delta|^2; r: what the crosscoder leaves
    """
    rebuilt = crosscoder.denormalise(crosscoder.decode(f_TL))
    left_TD = differences(x_TMD) - differences(rebuilt)
    return _costs(f_TL, delta_LD, left_TD).cpu() / float(differences(x_TMD).square().sum())


def _costs(f_TL: Tensor, direction_LD: Tensor, left_TD: Tensor) -> Tensor:
    product_L = (f_TL * (left_TD @ direction_LD.T)).sum(dim=0)
    return 2 * product_L + f_TL.square().sum(dim=0) * direction_LD.square().sum(dim=1)


@torch.inference_mode()
def changes_list(
    changes: Changes, listed: Sequence[tuple[int, str]], x_TMD: Tensor, section: ChangesConfig
) -> list[Entry]:
    """listed: number and kind of each entry, in order."""
    h_TJ = changes.activity(x_TMD, section).h_BJ
    lines, away_TD = changes.lines, x_TMD[:, 0] - changes.lines.mean_MD[0]
    entries = []
    for change, kind in listed:
        if change < changes.n:
            entries.append(Entry(changes.direction_JD[change], h_TJ[:, change], kind))
        elif change == changes.n:
            entries.append(everywhere(lines.shift_D, len(x_TMD), kind))
        else:
            direction_D = torch.linalg.svd(away_TD, full_matrices=False).Vh[0]
            entries.append(Entry(direction_D, lines.scale * away_TD @ direction_D, kind))
    return entries


def everywhere(shift_D: Tensor, n_rows: int, kind: str) -> Entry:
    """A constant difference on every row."""
    norm = shift_D.norm()
    return Entry(shift_D / norm.clamp_min(1e-30), norm.expand(n_rows), kind)


def _entry(f_TL: Tensor, delta_LD: Tensor, latent: int, kinds: Sequence[str]) -> Entry:
    norm = delta_LD[latent].norm().clamp_min(1e-30)
    return Entry(delta_LD[latent] / norm, f_TL[:, latent] * norm, kinds[latent])
