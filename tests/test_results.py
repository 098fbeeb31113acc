"""Files under `results/` that are gone, or are not what their stage wrote."""

from pathlib import Path

import pytest
from typing_extensions import TypedDict

from pipeline.errors import ArtifactError, MissingArtifactError
from pipeline.results import ResultFile


class Count(TypedDict):
    n: int


COUNT = ResultFile("count.json", "count", Count)
ROWS = ResultFile("rows.parquet", "count", dict)


def test_a_result_that_is_gone_is_not_taken_for_one_of_a_stage_that_did_not_run(
    tmp_path: Path,
) -> None:
    assert COUNT.read_applicable(tmp_path) is None
    (tmp_path / "count.manifest.json").write_text('{"files": {"other.json": {}}}')
    assert COUNT.read_applicable(tmp_path) is None
    (tmp_path / "count.manifest.json").write_text('{"files": {"count.json": {}}}')
    with pytest.raises(MissingArtifactError, match=r"count\.json not found: run `dvc repro count`"):
        COUNT.read_applicable(tmp_path)
    (tmp_path / "count.json").write_text('{"n": 3}')
    assert COUNT.read_applicable(tmp_path) == {"n": 3}
    (tmp_path / "count.json").write_text('{"applicable": false, "reason": "none"}')
    assert COUNT.read_applicable(tmp_path) is None


def test_a_table_that_is_gone_or_damaged_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match=r"rows\.parquet not found: run `dvc repro"):
        ROWS.frame(tmp_path)
    (tmp_path / "rows.parquet").write_text("x")
    with pytest.raises(ArtifactError, match=r"is no Parquet file .*: remove it and run `dvc repro"):
        ROWS.frame(tmp_path)
