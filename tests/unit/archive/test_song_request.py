"""What people paste, and what is said of it before anything is paid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.archive.inbox.song_request import (
    counted,
    id_errors,
    ids_in,
    labels_in,
    name_errors,
    songs_in,
)

A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.mark.parametrize(
    "pasted",
    [
        f"{A}\n{B}\n{C}",
        f"{A}\r\n\r\n{B}\r\n{C}\r\n",
        f"{A}, {B} ,{C}",
        f"  {A}\t{B};{C}  ",
        f"\"{A}\", '{B}', `{C}`",
        f'["{A}", "{B}", "{C}"]',
        f"[{A}, {B}, {C}]",
        f"{A} {B} {A} {C} {B}",
        [A, B, C],
        [f"{A}, {B}", f"\n{C}\n"],
        (A, B, C, A),
        json.dumps([f"{A}\n{B}", f"'{C}'"]),
    ],
)
def test_ids_are_taken_out_of_any_paste_in_order_and_without_doubles(pasted: Any) -> None:
    assert ids_in(pasted) == [A, B, C]


def test_what_a_template_escapes_is_read_as_it_was_pasted() -> None:
    import jinja2

    rendered = jinja2.Environment().from_string("{{ ids | tojson }}").render(ids=[f"'{A}'", f"{B}\n<{C}>"])
    assert ids_in(rendered) == [A, B, C]


@pytest.mark.parametrize("nothing", [None, "", "  \n", [], "[]", [""], {}])
def test_nothing_pasted_is_no_id(nothing: Any) -> None:
    assert ids_in(nothing) == []


@pytest.mark.parametrize("wrong", ["../etc", "a/b", "_pending", "ü" * 8, "x" * 129])
def test_what_cannot_be_a_task_id_is_named(wrong: str) -> None:
    (problem,) = id_errors([A, wrong])
    assert wrong[:20] in problem


def test_an_address_that_was_pasted_is_told_as_one() -> None:
    (problem,) = id_errors([A, f"https://kie.ai/logs?taskId={B}"])
    assert problem.startswith("An address was pasted: give the task id alone")


@pytest.mark.parametrize("name", ["music_task_id", "max_cover", "maxCovers", "label"])
def test_a_field_that_is_almost_one_of_the_dags_is_named(name: str) -> None:
    known = ["music_task_ids", "max_covers", "labels", "songs"]
    (problem,) = name_errors([name, "songs", "requested_by"], known)
    assert problem.startswith(f"This DAG has no field {name!r}; is '")


@pytest.mark.parametrize("given", [{"our_id": "A-17"}, '{"our_id": "A-17"}'])
def test_labels_come_as_a_map_or_its_json(given: Any) -> None:
    assert labels_in(given) == {"our_id": "A-17"}


def test_numbers_in_labels_are_kept_as_text() -> None:
    assert labels_in({"year": 2026}) == {"year": "2026"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no json", "flat map"),
        ([1], "flat map"),
        ({f"l{n}": "x" for n in range(11)}, "at most 10"),
        ({"a": {"b": "c"}}, "no text"),
        ({"a": None}, "no text"),
        ({"": "x"}, "empty"),
        ({"a": "x" * 257}, "longer than 256"),
    ],
)
def test_what_is_wrong_with_labels_is_said(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        labels_in(given)


@pytest.mark.parametrize("given", [[{"music_task_id": A}], json.dumps([{"music_task_id": A}])])
def test_songs_come_as_a_list_or_its_json(given: Any) -> None:
    assert list(songs_in(given)) == [{"music_task_id": A}]


@pytest.mark.parametrize("given", ["nonsense", [A], [{"labels": {}}], {"labels": {}}, 7, "7", "true"])
def test_what_is_no_list_of_songs_is_refused_with_an_example(given: Any) -> None:
    with pytest.raises(ValueError, match="list of maps such as"):
        songs_in(given)


def test_counts_are_digits_with_a_noun_that_agrees() -> None:
    assert [counted(0), counted(1), counted(9, "file")] == ["0 songs", "1 song", "9 files"]
