import csv
import io
import math

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import Table, csv_bytes

TEXT = st.text(st.characters(exclude_categories=["C"]))
CELL = st.one_of(st.none(), st.integers(), st.floats(allow_subnormal=False), TEXT)


def read_back(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


@given(st.lists(st.tuples(CELL, CELL)))
def test_every_value_reads_back_and_what_is_undefined_reads_as_nothing(rows: list[tuple]) -> None:
    table: Table = {"a, b": [a for a, _ in rows], 'say "c"': [c for _, c in rows]}
    header, *cells = read_back(csv_bytes(table))
    assert header == ["a, b", 'say "c"']
    for row, found in zip(rows, cells, strict=True):
        for value, text in zip(row, found, strict=True):
            if value is None or (isinstance(value, float) and math.isnan(value)):
                assert text == ""
            else:
                assert text == str(value)
                assert not isinstance(value, float) or float(text) == value


def test_a_table_without_rows_keeps_its_header() -> None:
    assert csv_bytes({"latent": [], "value": []}) == b"latent,value\n"


def test_a_frame_is_written_as_pandas_would_write_it() -> None:
    frame = pd.DataFrame({"n": [1, 2], "x": [1 / 3, float("nan")], "of": ["a,b", "it's"]})
    expected = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    assert csv_bytes(frame, digits=6) == expected
