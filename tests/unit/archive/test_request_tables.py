"""Tables of requests: what a row holds is what was written, and a row that cannot be read stops no other."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from airflow_kie.archive.tables import requests
from airflow_kie.archive.tables.requests import read_rows
from airflow_kie.client.errors import KieInvalidRequest


def read(name: str, content: bytes) -> list[Any]:
    """Return each row's fields, or why it cannot be read."""
    return [row.problem or row.fields for row in read_rows(io.BytesIO(content), name)]


def test_a_cell_of_a_csv_is_text_unless_its_column_says_json() -> None:
    text = '\ufeffprompt,input.seed:json,input.size,n:json\r\n"a, ""b""\n007",7,0012,\r\n\r\ntrue,null,,"[1, {}]"\r\n'
    assert read("t.CSV", text.encode()) == [
        {"prompt": 'a, "b"\n007', "input": {"seed": 7, "size": "0012"}},
        {"prompt": "true", "input": {"seed": None}, "n": [1, {}]},
    ]


def test_rows_that_cannot_be_read_say_why_and_the_next_ones_are_read() -> None:
    rows = read("t.csv", b'a,b:json\n1,2\n1,2,3\n\xff,1\nx,{\n"1,NaN\n')
    assert rows[0] == {"a": "1", "b": 2}
    for said, row in zip(("has 3 cells", "is not UTF-8", "column b:json is not JSON"), rows[1:], strict=False):
        assert said in row
    lines = [b"{}", b"x" * (requests.MAX_ROW_BYTES + 9), b"[]", b'{"a": NaN}', b"\xff", b"[" * 9000, b'{"a": 1}']
    found = read("t.jsonl", b"\n".join(lines))
    assert (found[0], found[-1]) == ({}, {"a": 1})
    assert [row.partition(":")[0] for row in found[1:-1]] == [
        "is longer than 1,048,576 bytes",
        "is not a JSON object",
        *["is not JSON"] * 3,
    ]


def test_json_lines_may_begin_with_a_byte_order_mark_as_programs_of_windows_write_it() -> None:
    assert read("t.jsonl", '\ufeff{"a": 1}\r\n{"a": 2}\r\n'.encode()) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("content", [b"", b"a,a\n", b"a,\n", b'"a\n', b"pr\xf6mpt\nrain\n", b"\xff\xfea\x00\n\x00"])
def test_a_csv_whose_first_line_names_no_columns_is_refused(content: bytes) -> None:
    with pytest.raises(KieInvalidRequest, match="first line"):
        read("t.csv", content)


def test_a_table_with_too_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_ROWS", 2)
    with pytest.raises(KieInvalidRequest, match="more than 2 rows; split it"):
        read("t.csv", b"a\n1\n2\n3\n")


def test_parquet_without_its_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(KieInvalidRequest, match="needs the package pyarrow, which is not installed here"):
        read("t.parquet", b"PAR1")


def test_a_csv_with_a_cell_without_end_is_refused_since_its_other_lines_are_no_rows() -> None:
    long = b"x" * 200_000
    with pytest.raises(KieInvalidRequest, match=r"at its line 3, or a quote .* not closed"):
        read("t.csv", b'prompt\nrain\n"' + long + b'\na line of that cell\n"\nsnow\n')


def test_what_columns_lead_into_an_object_that_another_column_holds_is_joined_in_any_order() -> None:
    both = {"input": {"prompt": "rain", "seed": 7}}
    assert read("t.csv", b'input.prompt,input:json\nrain,"{""seed"": 7}"\n') == [both]
    assert read("t.csv", b'input:json,input.prompt\n"{""seed"": 7}",rain\n') == [both]
    assert "seed:json" in read("t.csv", b"seed,seed:json\n1,2\n")[0]


def test_a_value_of_parquet_under_a_name_that_says_json_is_what_it_is() -> None:
    assert requests._nested([("seed:json", 7), ("size:json", "[1, 2]")]) == {"seed": 7, "size": [1, 2]}
