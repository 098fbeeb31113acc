"""Cross entropy, KL and the fraction recovered with intervals, from the sums of the splice."""

import numpy as np

from pipeline.analysis.bootstrap import Bootstrap, Floats
from pipeline.analysis.evaluation.result import Spliced, SpliceTable
from pipeline.analysis.evaluation.splice import PATCHES, SpliceSums
from pipeline.labels import MODELS
from pipeline.results import Measured

CLEAN, SPLICED, ZERO, MEAN, SPLICED_WITH_BOS, ZERO_WITH_BOS = range(len(PATCHES))


def splice_table(sums: SpliceSums, bootstrap: Bootstrap) -> SpliceTable:
    """Model -> group -> figure -> {value, low, high}; all figures in nats per prediction.

    `both` is the mean of the two models: predictions of either count alike.

    ce_<patch>: cross entropy; delta_ce_<patch>: minus that of the clean model
    kl_<patch>: KL(clean || patched)
    ce_recovered_<ablation>: 1 - (CE spliced - CE clean) / (CE ablated - CE clean)
    kl_recovered_<ablation>: 1 - KL spliced / KL ablated; of zero_with_bos, both with BOS replaced
    """
    of_models = {model: [m] for m, model in enumerate(MODELS)} | {"both": [*range(len(MODELS))]}
    return {
        name: {
            group: _figures(sums, models, cells, bootstrap)
            for group, cells in sums.cells.groups.items()
        }
        for name, models in of_models.items()
    }


def _figures(
    sums: SpliceSums, models: list[int], cells: list[int], bootstrap: Bootstrap
) -> Spliced:
    n = len(models) * sums.n_QC[:, cells].sum(axis=1)
    ce = sums.ce_MQCP[models][:, :, cells].sum(axis=(0, 2))
    kl = sums.kl_MQCP[models][:, :, cells].sum(axis=(0, 2))

    def mean(sum_Q: Floats) -> Measured:
        return bootstrap.ratio(sum_Q, n).to_dict()

    def lost(patch: int) -> Measured:
        return mean(ce[:, patch] - ce[:, CLEAN])

    def recovered(spliced: int, ablated: int) -> Measured:
        three = ce[:, [CLEAN, spliced, ablated]]
        return bootstrap.estimate(three, _recovered).to_dict()

    def kl_recovered(spliced: int, ablated: int) -> Measured:
        return bootstrap.one_minus_ratio(kl[:, spliced], kl[:, ablated]).to_dict()

    return {
        "n_predictions": int(n.sum()),
        "ce_clean": mean(ce[:, CLEAN]),
        "ce_spliced": mean(ce[:, SPLICED]),
        "ce_zero": mean(ce[:, ZERO]),
        "ce_mean": mean(ce[:, MEAN]),
        "ce_spliced_with_bos": mean(ce[:, SPLICED_WITH_BOS]),
        "ce_zero_with_bos": mean(ce[:, ZERO_WITH_BOS]),
        "delta_ce_spliced": lost(SPLICED),
        "delta_ce_zero": lost(ZERO),
        "delta_ce_mean": lost(MEAN),
        "delta_ce_spliced_with_bos": lost(SPLICED_WITH_BOS),
        "delta_ce_zero_with_bos": lost(ZERO_WITH_BOS),
        "kl_spliced": mean(kl[:, SPLICED]),
        "kl_zero": mean(kl[:, ZERO]),
        "kl_mean": mean(kl[:, MEAN]),
        "kl_spliced_with_bos": mean(kl[:, SPLICED_WITH_BOS]),
        "kl_zero_with_bos": mean(kl[:, ZERO_WITH_BOS]),
        "ce_recovered_zero": recovered(SPLICED, ZERO),
        "ce_recovered_mean": recovered(SPLICED, MEAN),
        "ce_recovered_zero_with_bos": recovered(SPLICED_WITH_BOS, ZERO_WITH_BOS),
        "kl_recovered_zero": kl_recovered(SPLICED, ZERO),
        "kl_recovered_mean": kl_recovered(SPLICED, MEAN),
        "kl_recovered_zero_with_bos": kl_recovered(SPLICED_WITH_BOS, ZERO_WITH_BOS),
    }


def _recovered(clean_spliced_ablated: Floats) -> Floats:
    clean, spliced, ablated = np.moveaxis(clean_spliced_ablated, -1, 0)
    return 1 - (spliced - clean) / (ablated - clean)
