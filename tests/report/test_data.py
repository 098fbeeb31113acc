"""What the page says of rows that were left out for their norm."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.harvest.outliers import NormLimits
from pipeline.harvest.tally import counts_of
from pipeline.labels import OUTLIERS
from pipeline.report.sections.data import left_out
from tests.report.results import made_up_findings


def test_the_page_counts_outliers_as_the_manifests_do(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    assert left_out(findings) is None
    limits = NormLimits(10.0, (2.0, 3.0), 500)
    labels = {
        "position": np.array([1, 1, 9, 30]),
        "source": np.array([0, 1, 1, 0]),
        "token_class": np.array([0, 0, 1, 0]),
    }
    beyond = np.array([[True, True], [False, True], [False, False], [True, False]])
    store = replace(
        findings.manifests["activations"],
        counts=counts_of(labels, beyond, findings.sources),
        facts={OUTLIERS: limits.facts},
    )
    stores = {"activations": store, "heldout_activations": store}
    grid = left_out(replace(findings, manifests={**findings.manifests, **stores}))
    assert grid is not None
    shown = {row.name: [cell.text for cell in row.cells] for row in grid.rows}
    assert shown["all"] == ["3", "75.00%"] * 2
    assert shown["beyond the limit in base alone"] == ["1", "25.00%"] * 2
    assert shown["position 1"] == ["2", "50.00%"] * 2
    assert shown["position 9 and later"] == ["1", "25.00%"] * 2
    assert shown[f"source {findings.sources[0]}"] == ["2", "50.00%"] * 2
    assert "exceeds 10 times" in grid.caption.replace("norm in a model ", "")
    assert "base 20 (median 2), IT 30 (median 3)" in grid.caption
