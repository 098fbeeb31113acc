"""The card of a crosscoder that is given away, as the Hub reads it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from pipeline.artifacts import Manifest, write_bytes, write_json
from pipeline.crosscoder import Crosscoder
from pipeline.errors import MismatchError, MissingArtifactError
from pipeline.report.claims.screen import claims_file
from tests.crosscoder.test_hub import PROVENANCE
from tests.crosscoder.test_model import random_crosscoder
from tests.report.change_lists import write_changes
from tests.report.results import made_up_findings

HOSTILE = "<img src=x> | [here](http://elsewhere) `\n# Title"


def made(provenance: Mapping[str, Any] = PROVENANCE) -> Crosscoder:
    crosscoder = random_crosscoder(3).float()
    crosscoder.provenance = provenance
    return crosscoder


def card_of(crosscoder: Crosscoder, folder: Path, **settings: Any) -> ModelCard:
    crosscoder.save_for_hub(folder, **settings)
    return ModelCard.load(folder / "README.md")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's results, of the crosscoder that PROVENANCE describes."""
    folder = tmp_path_factory.mktemp("results")
    findings = made_up_findings(folder, n_latents=20, proof=HOSTILE)
    write_changes(folder, 8, text=HOSTILE)
    claims = claims_file(findings, [])
    write_json(folder / "findings.json", claims)
    lineage = {name: part for name, part in PROVENANCE.items() if name != "training"}
    manifest = Manifest("report", 1, "", {}, lineage, {}, {}, {}, {}, {})
    write_bytes(folder / "report.manifest.json", manifest.to_json())
    return folder


def test_the_hub_reads_the_card_and_what_the_weights_are_based_on(tmp_path: Path) -> None:
    card = card_of(made(), tmp_path)
    told = card.data.to_dict()
    assert told["library_name"] == "crosscoder-pipeline"
    assert told["base_model"] == ["google/gemma-2-2b", "google/gemma-2-2b-it"]
    assert "crosscoder" in told["tags"]
    local = {"base": {"kind": "local", "path": "/home/someone/base"}}
    card = card_of(made({"models": local}), tmp_path / "local")
    assert "base_model" not in card.data.to_dict()
    assert "model 0, base: `base`" in card.text
    assert "/home/someone" not in card.text


def test_the_card_holds_the_recipe_the_pair_and_how_to_load_it(tmp_path: Path) -> None:
    text = card_of(made(), tmp_path, repo="someone/diff").text
    for told in (
        "- model 1, it: `google/gemma-2-2b-it`",
        "hidden_states[14]",
        "| crosscoder.k | 100 |",
        "| train.learning_rate | 0.0001 |",
        "| fve_it | 0.871 |",
        'Crosscoder.from_pretrained("someone/diff")',
    ):
        assert told in text, told
    assert Crosscoder.load(tmp_path).provenance == PROVENANCE


def test_the_card_says_how_to_scale_and_how_to_fold(tmp_path: Path) -> None:
    crosscoder = random_crosscoder(3, gated=False)
    scaled = card_of(crosscoder, tmp_path / "scaled", layout="reference").text
    assert f"times its factor s_m, {crosscoder.activation_scale.tolist()}" in scaled
    assert "multiply W_enc of model m by s_m, divide its W_dec and b_dec by s_m" in scaled
    assert "layout `reference`" in scaled
    folded = card_of(crosscoder.folded(), tmp_path / "folded").text
    assert "take raw activations: the normalisation is folded" in folded
    assert "times its factor" not in folded
    (tmp_path / "scaled/cfg.json").write_text(json.dumps({"model_name_A": "a"}))
    unknown = Crosscoder.load(tmp_path / "scaled")
    assert (
        "the factors are not known"
        in card_of(unknown, tmp_path / "unknown", layout="reference").text
    )


def test_the_card_holds_the_figures_of_the_results_that_are_named(
    tmp_path: Path, results: Path
) -> None:
    text = card_of(made(), tmp_path, results=results).text
    screen = json.loads((results / "findings.json").read_text())["first_screen"]
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, flags=re.MULTILINE))
    fit, verdicts = screen["fit"], screen["exclusive"]["verdicts"]
    for name, figure in (
        ("L0, latents on per token", fit["l0"]),
        ("FVE, both models", fit["fve"]),
        ("FVE of the difference of the models", fit["fve_difference"]),
        ("cross entropy lost when spliced into base, nats", fit["delta_ce"]["base"]),
        ("cross entropy lost when spliced into it, nats", fit["delta_ce"]["it"]),
    ):
        assert rows[name] == "{value:.4g} ({low:.4g} to {high:.4g})".format(**figure)
    assert rows["dead latents"].endswith(f" of {made().n_latents:,}")
    assert f"{verdicts['shared']} shared" in rows["verdicts on live latents"]
    assert rows["changes listed"].startswith(f"{screen['accounted']['n_listed']} of ")
    assert sum(name.startswith("of the difference, explained by") for name in rows) > 1
    assert "## What it showed" in text
    assert "predicts chat better than the base model" in text
    assert re.search(r"^- new, [\d.]+% of the difference: ", text, flags=re.MULTILINE)


def test_text_of_documents_is_no_markup_on_the_card(tmp_path: Path, results: Path) -> None:
    text = card_of(made(), tmp_path, results=results).text
    assert "“\\<img src=x\\> \\| \\[here\\](http\\://elsewhere) \\` \\# Title”" in text
    assert not re.search(r"(?<!\\)\[here\]|^# Title|(?<!\\)<img", text, flags=re.MULTILINE)


def test_results_of_another_crosscoder_are_refused(tmp_path: Path, results: Path) -> None:
    other = {**PROVENANCE, "crosscoder": {"kind": "batch_topk", "k": 32}}
    with pytest.raises(MismatchError, match=r"crosscoder\.k = 100, but this one has 32"):
        made(other).save_for_hub(tmp_path / "card", results=results)
    assert not (tmp_path / "card").exists()
    with pytest.raises(MissingArtifactError, match=r"findings\.json not found"):
        made().save_for_hub(tmp_path / "card", results=tmp_path)
