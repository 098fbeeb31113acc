import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.text import FilesSourceConfig
from pipeline.errors import SourceError
from pipeline.labels import HELDOUT, TRAIN
from pipeline.text.sources import describe, documents, rows
from pipeline.text.split import Selection
from tests.text.conftest import generated


def spec(*paths: Path, **changes: Any) -> FilesSourceConfig:
    values = {
        "kind": "files",
        "paths": [str(path) for path in paths],
        "format": "text",
        "text_field": "text",
        "conversation_field": "conversation",
    }
    return FilesSourceConfig.model_validate(values | changes)


def write(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_ids_count_the_rows_of_all_files_and_reading_can_begin_at_any(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", *({"text": f"a{n}"} for n in range(3)))
    b = write(tmp_path / "b.jsonl", {"text": ""}, {"text": "b1"})
    source = spec(b, a)
    loaded = [(row.id, row.load()) for row in rows(source, "pile")]
    assert [i for i, _ in loaded] == [0, 1, 2, 3, 4]
    for start in range(7):
        assert [(row.id, row.load()) for row in rows(source, "pile", start)] == loaded[start:]


def test_documents_counts_what_it_leaves_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "x"}, {"text": " "}, {"text": None}, {"text": "y"})
    dropped = Counter[str]()
    assert [d.text for d in documents(spec(path), "pile", dropped=dropped)] == ["x", "y"]
    assert dropped == Counter(empty_documents=2)


def test_no_document_is_on_both_sides_of_the_split() -> None:
    source = generated("documents", 300)
    ids = [
        {d.id for d in documents(source, "pile", selection=Selection(side, 0.3, 0))}
        for side in (TRAIN, HELDOUT)
    ]
    assert not ids[0] & ids[1]
    assert len(ids[0] | ids[1]) == 300


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        ({"body": "x"}, {}, "line 2 has no field 'text', its fields are body: set text_field"),
        ({}, {}, "line 2 has no field 'text', its fields are none"),
        ([1], {}, "line 2 is of type list, expected an object"),
        ({"text": 3}, {}, "line 2: the text is of type int"),
        (
            {"conversation": [{"content": "no role"}]},
            {"format": "chat"},
            "line 2, turn 1 has no 'role'",
        ),
        ({"messages": []}, {"format": "chat"}, "no field 'conversation', its fields are messages"),
    ],
)
def test_a_malformed_row_is_an_error_that_names_file_and_line(
    tmp_path: Path, row: Any, changes: dict[str, Any], message: str
) -> None:
    good = {"text": "x", "conversation": [{"role": "user", "content": "x"}]}
    path = write(tmp_path / "a.jsonl", good, row)
    with pytest.raises(SourceError) as error:
        list(documents(spec(path, **changes), "pile"))
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_file_without_rows_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(SourceError, match=r"a\.jsonl has no rows"):
        list(documents(spec(tmp_path / "a.jsonl"), "pile"))


def test_a_description_changes_with_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "x"})
    before = describe(spec(path), "pile")
    write(path, {"text": "y"})
    assert describe(spec(path), "pile") != before
    assert describe(generated("chats"), "chat") == {}
