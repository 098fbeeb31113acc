"""An edit that would change nothing is refused under `dvc repro`, not recorded as a change."""

from pathlib import Path

import pytest

from tests.checkout import Checkout


@pytest.fixture(scope="module")
def checkout(module_path: Path) -> Checkout:
    copy = Checkout.fresh(module_path / "clone")
    copy.repro("compose")
    return copy


def test_a_key_that_params_yaml_does_not_hold_is_refused(checkout: Checkout) -> None:
    checkout.override("")
    params = checkout.path / "params.yaml"
    params.write_text(params.read_text() + "train:\n  learning_rate: 0.001\n")
    done = checkout.run("dvc", "repro", "compose", check=False)
    assert done.returncode != 0
    assert "found train" in done.stderr
    assert "train.learning_rate=0.001" in done.stderr
    checkout.override("")


def test_an_edited_composed_yaml_is_refused_and_comes_back_by_the_remedy(
    checkout: Checkout,
) -> None:
    composed = checkout.path / "composed.yaml"
    before = composed.read_text()
    composed.write_text(before.replace("learning_rate: ", "learning_rate: 1", 1))
    assert composed.read_text() != before
    done = checkout.run("dvc", "repro", "compose", check=False)
    assert done.returncode != 0
    assert "composed.yaml was edited" in done.stderr
    composed.unlink()
    assert checkout.repro("compose") == ["compose"]
    assert composed.read_text() == before
