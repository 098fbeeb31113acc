import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.text import files

ROWS = [{"text": f"row {n} ü\n\u2028 🙂", "n": n} for n in range(300)]
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.dictionaries(st.text(max_size=3), SCALARS | st.lists(SCALARS, max_size=3), max_size=3)


def zst(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zst,
}
LINES = "\n".join(json.dumps(row) for row in ROWS)
FORMS = {
    ".jsonl": LINES,
    ".ndjson": LINES + "\n\n",
    ".json": json.dumps(ROWS, indent=1),
}


def read(path: Path) -> list[Any]:
    return [row.parse() for row in files.read_rows(path, "text")]


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_form_and_compression_gives_the_rows(
    tmp_path: Path, suffix: str, compression: str
) -> None:
    path = tmp_path / f"rows{suffix}{compression}"
    path.write_bytes(COMPRESSIONS[compression](FORMS[suffix].encode()))
    assert read(path) == ROWS


@pytest.mark.parametrize("compression", [".gz", ".zst", ".bz2", ".xz"])
def test_files_of_several_compressed_pieces_are_read_to_the_end(
    tmp_path: Path, compression: str
) -> None:
    compress = COMPRESSIONS[compression]
    path = tmp_path / f"rows.jsonl{compression}"
    path.write_bytes(compress(b'{"text": "a"}\n') + compress(b'{"text": "b"}\n'))
    assert read(path) == [{"text": "a"}, {"text": "b"}]


def test_parquet_gives_the_rows_of_all_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=70)
    assert read(path) == [{"text": row["text"]} for row in ROWS]


@pytest.mark.parametrize("joiner", ["\n", ",\n", " "])
def test_json_files_of_objects_without_an_array_are_read_too(tmp_path: Path, joiner: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(joiner.join(json.dumps(row) for row in ROWS))
    assert read(path) == ROWS


@settings(deadline=None, max_examples=40)
@given(values=st.lists(VALUES, min_size=1, max_size=6))
@pytest.mark.parametrize("piece", [1, 7, 64])
def test_json_is_read_the_same_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], piece: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"rows_{piece}.json"
    path.write_text(json.dumps(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "READ_CHARACTERS", piece)
        assert read(path) == values


def test_globs_are_expanded_sorted_and_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl.gz", "deep/c.json")]
    for path in paths:
        path.write_bytes(b"{}")
    patterns = (f"{tmp_path}/**/*.json*", str(paths[0]))
    assert files.expand(patterns, "sources.pile.paths") == paths


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "no file at"),
        ("empty.jsonl", r"empty\.jsonl is empty \(0 bytes\)"),
        ("notes.txt", "is of unknown kind, expected .json"),
        ("rows.parquet.gz", "is of unknown kind"),
    ],
)
def test_a_path_that_cannot_be_used_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    if name != "missing.jsonl":
        (tmp_path / name).write_bytes(b"" if name == "empty.jsonl" else b"x")
    with pytest.raises(SourceError, match=message):
        files.expand((str(tmp_path / name),), "sources.pile.paths")


def test_a_folder_in_place_of_its_files_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is a folder, expected files: .*/\*\.jsonl"):
        files.expand((str(tmp_path),), "sources.pile.paths")


DAMAGED: list[tuple[str, bytes, str]] = [
    ("a.jsonl", b'{"text": "a"}\n\n{"text: \n', "a.jsonl, line 3 is not JSON"),
    ("a.jsonl", b'\xff\xfe{"text"', "a.jsonl, line 1 is not UTF-8"),
    ("a.json", b'[{"text": "a"},\n{"text" "b"}]', "a.json, value 2 at line 2 is not JSON"),
    ("a.json", b'[{"text": "a"},\n{"te', "a.json, value 2 at line 2 is not JSON"),
    ("a.json", b"[]garbage", "a.json, value 1 at line 1 is not JSON"),
    ("a.json", b'[{"text": "a\xff"}]', "a.json cannot be read before its first row"),
    ("a.jsonl.gz", b"not gzip", "a.jsonl.gz cannot be read before its first row"),
    ("a.jsonl.gz", gzip.compress(LINES.encode())[:-30], "a.jsonl.gz cannot be read after"),
    ("a.jsonl.zst", zst(LINES.encode())[:200], "a.jsonl.zst cannot be read"),
    ("a.jsonl.xz", lzma.compress(LINES.encode())[:-30], "a.jsonl.xz cannot be read"),
    ("a.jsonl.bz2", bz2.compress(LINES.encode())[:-30], "a.jsonl.bz2 cannot be read"),
    ("a.parquet", b"PAR1 no", "a.parquet is not a readable parquet file"),
    ("a.jsonl", b'{"text": "a"}\n' + b"[" * 10**5, "a.jsonl, line 2 is not JSON"),
    ("a.json", b'[{"text": "a"},\n{"a": ' + b"[" * 10**5, "a.json, value 2 at line 2 is not JSON"),
]


@pytest.mark.parametrize(("name", "data", "message"), DAMAGED)
def test_a_damaged_file_is_an_error_that_names_file_and_place(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError) as error:
        read(tmp_path / name)
    assert message in str(error.value)


def test_a_damaged_parquet_page_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, compression="gzip")
    data = bytearray(path.read_bytes())
    data[40:400] = bytes(360)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.parquet cannot be read after row 0"):
        read(path)


def strings_of(values: list[bytes]) -> pa.Array:
    """Bytes that call themselves strings, whether they are UTF-8 or not."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values).buffers())


def test_a_parquet_row_that_is_not_utf8_is_an_error_that_names_file_and_row(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": strings_of([b"a", b"\xff\xfe"])}), path)
    with pytest.raises(SourceError, match=r"a\.parquet, row 2: field 'text' cannot be read"):
        read(path)


def test_a_column_that_nobody_asked_for_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "note": strings_of([b"\xff", b"b"])}), path)
    assert [row.parse() for row in files.read_rows(path, "text")] == [{"text": "a"}, {"text": "b"}]


def test_home_and_variables_in_paths_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text(LINES)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = [tmp_path / "a.jsonl"]
    assert (
        files.expand(("~/*.jsonl",), "key") == files.expand(("$HOME/a.jsonl",), "key") == expected
    )


def test_a_parquet_file_without_the_field_is_an_error_that_lists_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    with pytest.raises(SourceError, match="no field 'content', its fields are text, n"):
        list(files.read_rows(path, "content"))


def test_rows_are_parsed_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\nnot json\n{"text": "c"}\n')
    rows = list(files.read_rows(path, "text"))
    assert rows[2].parse() == {"text": "c"}


def test_a_description_tells_a_change_of_either_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    seen = []
    for text in ("abc", "abd", "bbc", "abcd"):
        path.write_text(text)
        seen.append(json.dumps(files.describe(path)))
    assert len(set(seen)) == 4
