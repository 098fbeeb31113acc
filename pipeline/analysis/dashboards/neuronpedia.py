"""Dashboards in the JSON of SAEDashboard, which Neuronpedia's converter reads.

A folder of `batch-N.json`, each with `model_id`, `layer`, `sae_set`, `sae_id_suffix` and a list of
features (SAEDashboard, `NeuronpediaDashboardBatch`). The format knows one model, so each model of a
pair has a folder of its own: the same latents and examples, with the tokens that its decoder
promotes and values in units of what the latent writes there. What the format has and this project
does not measure (neuron alignment, correlated neurons, logit histograms) stays an empty list, as
SAEDashboard itself leaves what it was told not to make.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.analysis.dashboards.file import Record, short

FEATURES_PER_BATCH = 128
LEFT_EMPTY = (
    "neuron_alignment_indices",
    "neuron_alignment_values",
    "neuron_alignment_l1",
    "correlated_neurons_indices",
    "correlated_neurons_l1",
    "correlated_neurons_pearson",
    "correlated_features_indices",
    "correlated_features_l1",
    "correlated_features_pearson",
    "logits_hist_data_bar_heights",
    "logits_hist_data_bar_values",
    "decoder_weights_dist",
)
TOP = {"bin_min": -1.0, "bin_max": -1.0, "bin_contains": -1.0}
"""The bounds by which the format marks the strongest examples."""


def write_batches(
    folder: Path, records: Iterable[Record], *, model: str, head: Mapping[str, Any]
) -> int:
    """Write `folder/batch-N.json` for the side `model` of a pair; the number of features.

    model: name of the model as the records have it, such as `it`
    head: `model_id`, `layer`, `sae_set` and `sae_id_suffix`, which every batch repeats
    """
    folder.mkdir(parents=True)
    features, n = (feature(record, model) for record in records), 0
    while part := list(islice(features, FEATURES_PER_BATCH)):
        batch = json.dumps({**head, "features": part}, ensure_ascii=False, allow_nan=False)
        (folder / f"batch-{n // FEATURES_PER_BATCH}.json").write_text(batch, encoding="utf-8")
        n += len(part)
    return n


def feature(record: Record, model: str) -> dict[str, Any]:
    """One latent as a feature of `model`."""
    scale = record[f"norm_{model}"]
    promoted, suppressed = (
        record["lens"][f"{model}_{which}"] for which in ("promoted", "suppressed")
    )
    values, heights = _histogram(record, scale)
    return {
        "feature_index": record["latent"],
        **{key: [] for key in LEFT_EMPTY},
        "neg_str": [entry["token"] for entry in suppressed],
        "neg_values": [entry["logit"] for entry in suppressed],
        "pos_str": [entry["token"] for entry in promoted],
        "pos_values": [entry["logit"] for entry in promoted],
        "frac_nonzero": short(_total(record["n_active"]) / max(1, _total(record["n_tokens"]))),
        "freq_hist_data_bar_values": values,
        "freq_hist_data_bar_heights": heights,
        "activations": list(_activations(record, scale)),
    }


def _total(cells: Mapping[str, Mapping[str, int]]) -> int:
    return sum(sum(classes.values()) for classes in cells.values())


def _histogram(record: Record, scale: float) -> tuple[list[float], list[int]]:
    """Middles of the bins of the active values, and how many tokens lie in each, all sources
    together."""
    width, counts = record["histogram"]["width"], record["histogram"]["counts"]
    heights = [sum(bins) for bins in zip(*counts.values(), strict=True)]
    return [short((b + 0.5) * width * scale) for b in range(len(heights))], heights


def _activations(record: Record, scale: float) -> Iterator[dict[str, Any]]:
    """The strongest examples, then those of each band."""
    for example in record["top"]:
        yield TOP | _example(example, scale)
    for band in record["bands"]:
        bounds = {
            "bin_min": short(band["low"] * scale),
            "bin_max": short(band["high"] * scale),
            "bin_contains": short(band["to"] - band["from"]),
        }
        for example in band["examples"]:
            yield bounds | _example(example, scale)


def _example(example: Record, scale: float) -> dict[str, Any]:
    # A start token has no activation in this project; the format has numbers alone.
    values = [short((value or 0) * scale) for value in example["values"]]
    return {"tokens": example["tokens"], "values": values, "qualifying_token_index": example["at"]}
