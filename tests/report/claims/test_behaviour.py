"""What the page says of behaviour: which text the IT model predicts better, and which worse."""

import json
from pathlib import Path

import pytest

from pipeline.analysis.evaluation.result import EVALUATION
from pipeline.artifacts import write_json
from pipeline.report.claims.behaviour import behaviour, listed
from pipeline.results import applicable
from tests.report.results import made_up_findings


def write_losses(results: Path, changes: dict[str, float] | None) -> None:
    """Put the changes of loss into models.json; None: no model was made here."""
    pair = json.loads((results / "models.json").read_text())
    del pair["loss_change_nats"]
    write_json(
        results / "models.json",
        pair if changes is None else {**pair, "loss_change_nats": changes},
    )


def test_text_is_told_that_is_predicted_better_and_worse_and_none_that_is_hardly_so(
    tmp_path: Path,
) -> None:
    findings = made_up_findings(tmp_path)
    write_losses(tmp_path, {"pile": 0.09, "code": 2.0, "chat": -1.3, "poems": -0.04})
    assert behaviour(findings) == (
        "On held-out text the fine-tuned model predicts chat better than the base model (loss 1.30 "
        "nats per token lower), and code and pile worse than the base model (loss 2.00 and 0.09 "
        "nats per token higher)."
    )


def test_models_from_elsewhere_are_compared_on_the_sources_of_the_mix(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    write_losses(tmp_path, None)
    splice = applicable(findings.read(EVALUATION)["splice"])
    assert splice
    for source in ("pile", "chat"):
        for model, nats in (("base", 3.0), ("it", 2.5 if source == "chat" else 3.0)):
            splice[model][source]["ce_clean"]["value"] = nats
    assert behaviour(findings).endswith(
        "predicts chat better than the base model (loss 0.50 nats per token lower)."
    )


def test_nothing_is_said_where_no_loss_changes_or_there_is_no_model(tmp_path: Path) -> None:
    equal, none = (tmp_path / name for name in ("equal", "none"))
    findings = made_up_findings(equal)
    write_losses(equal, {"pile": 0.01})
    assert behaviour(findings) == ""
    findings = made_up_findings(none, spliced=False)
    write_losses(none, None)
    assert behaviour(findings) == ""


@pytest.mark.parametrize(
    ("words", "told"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_words_are_listed_as_one_speaks(words: list[str], told: str) -> None:
    assert listed(words) == told
