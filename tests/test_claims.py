import json
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.analysis.changes.judge import KINDS
from pipeline.claims import VERSION, Kind, read_claims, schema
from pipeline.errors import MissingArtifactError, SourceError

ROOT = Path(__file__).parents[1]
SAID: dict[str, Any] = {"says": "it greets"}


def written(folder: Path, content: Any) -> Path:
    path = folder / "findings.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def listed(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"version": VERSION, "changes": list(changes)}


def test_a_list_of_sentences_is_enough(tmp_path: Path) -> None:
    assert read_claims(written(tmp_path, listed(SAID)))["changes"] == [SAID]
    assert read_claims(written(tmp_path, listed()))["changes"] == []


def test_what_else_a_person_may_say_is_read_as_it_stands(tmp_path: Path) -> None:
    claim = SAID | {"kind": "new", "acts_on": [" Paris"], "direction": [1, 0.5], "promotes": ["a"]}
    claim["examples"] = [{"token": " Paris", "before": "in", "sequence": 3, "position": 7}]
    content = listed(claim) | {"made_by": "a reader"}
    assert read_claims(written(tmp_path, content)) == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ("Invalid JSON", "mend")),
        ([], ("the file", "object", "found []")),
        ({"changes": []}, ("version is missing",)),
        (listed() | {"version": 2}, ("version", "expected", "1", "found 2")),
        (listed({"kind": "new"}), ("changes.0.says is missing",)),
        (listed(SAID, {"says": ""}), ("changes.1.says", "found ''")),
        (listed(SAID | {"tokns": []}), ("changes.0.tokns is no field", "mend its name")),
        (listed(SAID | {"kind": "odd"}), ("changes.0.kind", "'turned'", "found 'odd'")),
        (listed(SAID | {"direction": ["1"]}), ("changes.0.direction.0", "number", "found '1'")),
        (listed(SAID | {"acts_on": []}), ("changes.0.acts_on", "at least 1", "found []")),
        ('{"version": 1, "changes": [{"says": "a", "direction": [NaN]}]}', ("finite", "nan")),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_what_was_found(
    tmp_path: Path, content: Any, words: tuple[str, ...]
) -> None:
    with pytest.raises(SourceError) as refused:
        read_claims(written(tmp_path, content))
    told = str(refused.value)
    assert str(tmp_path / "findings.json") in told
    assert "\n" not in told
    missing = [word for word in words if word not in told and word != "expected"]
    assert not missing, told


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="not found"):
        read_claims(tmp_path / "findings.json")
    with pytest.raises(SourceError, match="is a folder"):
        read_claims(tmp_path)


def test_kinds_are_those_that_changes_have() -> None:
    assert get_args(Kind) == KINDS


def test_the_schema_in_the_docs_is_that_of_the_types() -> None:
    """`python -c "import json; from pipeline.claims import schema; print(json.dumps(schema(),
    indent=2))" > docs/findings.schema.json` makes it anew."""
    assert json.loads((ROOT / "docs/findings.schema.json").read_text()) == schema()


def test_the_docs_name_every_field_of_a_claim_and_of_the_first_screen() -> None:
    docs = (ROOT / "docs/findings.md").read_text()
    types = schema()["$defs"] | {"file": schema()}
    for name in ("file", "Claim", "Example", "MeasuredChange", "FirstScreen"):
        assert not [field for field in types[name]["properties"] if f"`{field}`" not in docs]
