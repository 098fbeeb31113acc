import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import artifacts
from pipeline.analysis.dashboards.file import DASHBOARDS as FILE
from pipeline.analysis.dashboards.file import write_dashboards
from pipeline.analysis.dashboards.neuronpedia import FEATURES_PER_BATCH, feature, write_batches
from pipeline.errors import ConfigError, MissingArtifactError
from pipeline.results import not_applicable
from pipeline.stage import DASHBOARDS
from stages import neuronpedia

KEYS = {
    *("feature_index", "neuron_alignment_indices", "neuron_alignment_values"),
    *("neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_l1"),
    *("correlated_neurons_pearson", "correlated_features_indices", "correlated_features_l1"),
    *("correlated_features_pearson", "neg_str", "neg_values", "pos_str", "pos_values"),
    *("frac_nonzero", "freq_hist_data_bar_values", "freq_hist_data_bar_heights"),
    *("logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist"),
    "activations",
}
"""What the converter asks of every feature (SAEDashboard, `NeuronpediaDashboardFeature`)."""


def example(value: float) -> dict[str, Any]:
    values = [None, 0.0, value]
    return {"at": 2, "tokens": ["<bos>", " a", " garden"], "values": values, "value": value}


def record(latent: int = 3) -> dict[str, Any]:
    def tokens(name: str) -> list[dict[str, Any]]:
        return [{"token": f" {name}", "logit": 2.5}]

    return {
        "latent": latent,
        "norm_base": 0.5,
        "norm_it": 2.0,
        "n_active": {"pile": {"other": 2}, "chat": {"other": 1, "template": 1}},
        "n_tokens": {"pile": {"other": 30}, "chat": {"other": 5, "template": 5}},
        "histogram": {"width": 0.5, "counts": {"pile": [1, 1], "chat": [0, 2]}},
        "top": [example(4.0)],
        "bands": [{"from": 0.8, "to": 1.0, "low": 3.0, "high": 4.0, "examples": [example(3.5)]}],
        "lens": {
            f"{model}_{which}": tokens(f"{model}-{which}")
            for model in ("base", "it")
            for which in ("promoted", "suppressed")
        },
    }


def test_a_feature_holds_what_the_converter_asks_for_and_what_the_model_writes() -> None:
    base, it = feature(record(), "base"), feature(record(), "it")
    assert base.keys() == it.keys() == KEYS
    assert (base["pos_str"], it["pos_str"]) == ([" base-promoted"], [" it-promoted"])
    assert (it["neg_str"], it["neg_values"]) == ([" it-suppressed"], [2.5])
    assert it["frac_nonzero"] == 4 / 40
    assert it["freq_hist_data_bar_heights"] == [1, 3]
    assert (base["freq_hist_data_bar_values"][0], it["freq_hist_data_bar_values"][0]) == (
        0.125,
        0.5,
    )
    top, band = it["activations"]
    assert top["values"] == [0, 0, 8]
    assert base["activations"][0]["values"] == [0, 0, 2]
    assert top["tokens"][top["qualifying_token_index"]] == " garden"
    assert top["bin_contains"] == -1
    assert (band["bin_min"], band["bin_max"], band["bin_contains"]) == (6, 8, 0.2)


def test_every_latent_lies_in_one_batch_in_order(tmp_path: Path) -> None:
    n = 2 * FEATURES_PER_BATCH + 1
    head = {"model_id": "m", "layer": 3, "sae_set": "s", "sae_id_suffix": None}
    written = write_batches(tmp_path / "it", map(record, range(n)), model="it", head=head)
    batches = [json.loads((tmp_path / f"it/batch-{b}.json").read_text()) for b in range(3)]
    assert written == n
    assert len(list((tmp_path / "it").iterdir())) == 3
    assert [f["feature_index"] for batch in batches for f in batch["features"]] == list(range(n))
    assert all({key: batch[key] for key in head} == head for batch in batches)


def publish(records: list[dict[str, Any]]) -> None:
    """Dashboards of a pair as the stage writes them, in the current folder."""
    config = {
        "models": {"base": {"repo": "google/gemma-2-2b"}, "it": {"repo": "google/gemma-2-2b-it"}},
        "hook_point": {"layer": 14},
        "crosscoder": {"kind": "l1"},
    }
    with artifacts.build(
        DASHBOARDS, artifact="dashboards", format_version=1, config=config, inputs={}
    ) as build:
        if records:
            write_dashboards(build.work / FILE, iter(records))
        reason = {} if records else not_applicable("the experiment has no models and no text")
        build.publish(counts={}, facts=reason)


def test_the_command_tells_model_layer_and_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    publish([record()])
    neuronpedia.main(["out"])
    batch = json.loads((tmp_path / "out/it/batch-0.json").read_text())
    head = ("gemma-2-2b-it", 14, "crosscoder-l1")
    assert (batch["model_id"], batch["layer"], batch["sae_set"]) == head
    with pytest.raises(ConfigError, match="out is there already"):
        neuronpedia.main(["out"])


def test_without_dashboards_the_command_says_why_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingArtifactError):
        neuronpedia.main(["out"])
    publish([])
    with pytest.raises(MissingArtifactError, match="has no models and no text"):
        neuronpedia.main(["out"])
    assert not (tmp_path / "out").exists()
