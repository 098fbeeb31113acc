"""What the first screen says in short of how far to trust it."""

from pathlib import Path

import pytest

from pipeline.report.claims import trust
from pipeline.report.claims.trust import in_short
from tests.report.change_lists import write_changes
from tests.report.results import made_up_findings


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "failings", lambda _: [])


@pytest.mark.usefixtures("fits")
def test_list_and_crosscoder_are_told_with_what_they_rest_on(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    write_changes(tmp_path, 3)
    told = in_short(findings)
    assert told.startswith("How far to trust it: the list was made on training documents")
    assert "at most 5% of its entries to chance; the crosscoder, from which" in told


@pytest.mark.usefixtures("fits")
def test_of_an_empty_list_nothing_is_said(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    write_changes(tmp_path, 0)
    assert in_short(findings).startswith("How far to trust it: the crosscoder, from which")


@pytest.mark.parametrize("n", [0, 3])
def test_a_crosscoder_that_fails_is_left_to_its_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(trust, "failings", lambda _: ["it is not sparse"])
    findings = made_up_findings(tmp_path)
    write_changes(tmp_path, n)
    told = in_short(findings)
    assert "crosscoder" not in told
    assert bool(told) == bool(n)


@pytest.mark.usefixtures("fits")
def test_of_models_that_are_equal_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "models_differ", lambda _: False)
    assert in_short(made_up_findings(tmp_path)) == ""
