"""Cross entropy, KL and the fraction recovered with intervals, from the sums of the splice."""

from typing import Any

import numpy as np

from pipeline.analysis.bootstrap import Bootstrap, Floats
from pipeline.analysis.evaluation.splice import PATCHES, SpliceSums
from pipeline.analysis.groups import GROUPS
from pipeline.labels import MODELS

CLEAN, SPLICED, ZERO, MEAN, SPLICED_WITH_BOS, ZERO_WITH_BOS = range(len(PATCHES))
RECOVERED = ((SPLICED, ZERO), (SPLICED, MEAN), (SPLICED_WITH_BOS, ZERO_WITH_BOS))
"""Pairs of a splice and the ablation that it is held against."""


def splice_table(sums: SpliceSums, bootstrap: Bootstrap) -> dict[str, dict[str, dict[str, Any]]]:
    """Model -> group -> figure -> {value, low, high}; all figures in nats per prediction.

    `both` is the mean of the two models: predictions of either count alike.

    ce_<patch>: cross entropy; delta_ce_<patch>: minus that of the clean model
    kl_<patch>: KL(clean || patched)
    ce_recovered_<ablation>: 1 - (CE spliced - CE clean) / (CE ablated - CE clean)
    kl_recovered_<ablation>: 1 - KL spliced / KL ablated; of zero_with_bos, both with BOS replaced
    """
    of_models = {model: [m] for m, model in enumerate(MODELS)} | {"both": [*range(len(MODELS))]}
    return {
        name: {group: _figures(sums, models, cells, bootstrap) for group, cells in GROUPS.items()}
        for name, models in of_models.items()
    }


def _figures(
    sums: SpliceSums, models: list[int], cells: list[int], bootstrap: Bootstrap
) -> dict[str, Any]:
    n = len(models) * sums.n_QC[:, cells].sum(axis=1)
    ce = sums.ce_MQCP[models][:, :, cells].sum(axis=(0, 2))
    kl = sums.kl_MQCP[models][:, :, cells].sum(axis=(0, 2))
    table: dict[str, Any] = {"n_predictions": int(n.sum())}
    for p, patch in enumerate(PATCHES):
        table[f"ce_{patch}"] = bootstrap.ratio(ce[:, p], n).to_dict()
        if p != CLEAN:
            delta = ce[:, p] - ce[:, CLEAN]
            table[f"delta_ce_{patch}"] = bootstrap.ratio(delta, n).to_dict()
            table[f"kl_{patch}"] = bootstrap.ratio(kl[:, p], n).to_dict()
    for spliced, ablated in RECOVERED:
        name = PATCHES[ablated]
        three = ce[:, [CLEAN, spliced, ablated]]
        table[f"ce_recovered_{name}"] = bootstrap.estimate(three, _recovered).to_dict()
        table[f"kl_recovered_{name}"] = bootstrap.one_minus_ratio(
            kl[:, spliced], kl[:, ablated]
        ).to_dict()
    return table


def _recovered(clean_spliced_ablated: Floats) -> Floats:
    clean, spliced, ablated = np.moveaxis(clean_spliced_ablated, -1, 0)
    return 1 - (spliced - clean) / (ablated - clean)
