"""Whatever KIE puts where a row expects an id, a state or files: nothing but a typed error comes of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_kie.client.answers.decode import (
    Created,
    Invisible,
    Lost,
    Read,
    Refused,
    Unreadable,
    decode_create,
    decode_details,
    failure_of,
)
from airflow_kie.client.operations.json_path import value_at, values_at
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS
from kie_answers import answer

ROWS = [row for row in OPERATIONS.values() if isinstance(row, TaskOperation)]
PATHS = ("id_path", "state_path", "inputs", "tracks", "parent_path", "error_code_path", "error_message_path")
NAMES = sorted(
    {word for row in ROWS for path in PATHS for word in re.findall(r"[A-Za-z_]{4,}", getattr(row, path))}
    | {word for row in ROWS for result in row.results for word in re.findall(r"[A-Za-z_]{4,}", result.path)}
    | {"id", "param", "input", "audioWavUrl", "createTime", "completeTime", "creditsConsumed"}
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "{", "[", '{"sunoData": 3}', '{"resultUrls": {"a": 1}}', "SUCCESS", "https://a.example/b?c=d"]
    )
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)


@given(row=st.sampled_from(ROWS), data=VALUES, code=st.sampled_from([200, 400, 409, 422, 500]))
@example(row=OPERATIONS["suno.music"], data={"response": "[" * 100_000}, code=200)
@example(row=OPERATIONS["suno.stems"], data={"response": {"vocalUrl": {"a": ["b"]}, "originUrl": [None]}}, code=200)
@example(row=OPERATIONS["market"], data={"resultJson": '{"resultUrls": [[["x"]], {}]}', "param": "[]"}, code=200)
def test_no_answer_raises_whatever_it_holds(row: TaskOperation, data: Any, code: int) -> None:
    read = decode_details(row, "t-1", answer(data, code))
    assert isinstance(read, (Read, Invisible, Unreadable))
    if isinstance(read, Read):
        assert all(bool(result.url) is (result.value is None) for result in read.details.results)
        json.dumps(read.details.with_answer().results[-1].value)
        json.dumps(read.details.param)
        str(failure_of(row, read.details))
    assert isinstance(decode_create(row, {"taskId": "m"}, answer(data, code)), (Created, Refused, Lost))


@pytest.mark.parametrize("data", [None, {}, [], "text", 7, True, {"response": "not JSON"}])
@pytest.mark.parametrize("path", sorted({getattr(row, path) for row in ROWS for path in PATHS} - {""}))
def test_every_path_of_the_rows_is_valid_and_finds_nothing_where_there_is_nothing(path: str, data: Any) -> None:
    assert value_at(data, path) in (None, [None], [None, None])
    assert values_at(data, path) == []


@pytest.mark.parametrize(
    ("data", "path", "found"),
    [
        ({"a": [1, None, "", 0]}, "a", [1, 0]),
        ({"a": 0}, "a", [0]),
        ({"a": '{"b": ["x", "y"]}'}, "to_array(from_json(a).b)[]", ["x", "y"]),
        ({"a": {"b": "x"}}, "to_array(from_json(a).b)[]", ["x"]),
        ({"a": {"bUrl": "x", "url": "y", "cUrl": None}}, "links(a)", ["x"]),
        ({"a": "", "b": "second"}, "a || b", ["second"]),
        ({"a": {"b": [1, 2]}}, "[a.b]", [[1, 2]]),
    ],
)
def test_a_path_finds_what_it_says(data: Any, path: str, found: list[Any]) -> None:
    assert values_at(data, path) == found
