"""What people paste, and what is said of it before anything is paid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.archive.inbox.song_request import (
    Labelled,
    counted,
    gathering,
    id_errors,
    ids_in,
    name_errors,
    requests_in,
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


@pytest.mark.parametrize("nothing", [None, "None", "", "  \n", [], "[]", [""], {}])
def test_nothing_pasted_is_no_id(nothing: Any) -> None:
    assert ids_in(nothing) == []


@pytest.mark.parametrize("wrong", ["../etc", "a/b", "_pending", "ü" * 8, "x" * 129])
def test_what_cannot_be_a_task_id_is_named(wrong: str) -> None:
    (problem,) = id_errors([A, wrong])
    assert wrong[:20] in problem


def test_an_address_that_was_pasted_is_told_as_one() -> None:
    (problem,) = id_errors([A, f"https://kie.ai/logs?taskId={B}"])
    assert problem.startswith("This is an address: give the task id alone")


@pytest.mark.parametrize("name", ["music_task_id", "max_credit", "maxCredits", "label"])
def test_a_field_that_is_almost_one_of_the_dags_is_named(name: str) -> None:
    known = ["music_task_ids", "max_credits", "labels", "songs"]
    (problem,) = name_errors([name, "songs", "requested_by"], known)
    assert problem.startswith(f"This DAG has no field {name!r}; is '")


def labels_of(given: Any) -> Any:
    """Return the labels, or what is wrong with them."""
    problems: list[str] = []
    with gathering(problems):
        return dict(Labelled.model_validate({"labels": given}).labels)
    return problems


@pytest.mark.parametrize("given", [{"our_id": "A-17"}, '{"our_id": "A-17"}'])
def test_labels_come_as_a_map_or_its_json(given: Any) -> None:
    assert labels_of(given) == {"our_id": "A-17"}


@pytest.mark.parametrize("given", [None, "", " ", {}, "{}"])
def test_labels_may_be_left_out(given: Any) -> None:
    assert labels_of(given) == {}


def test_numbers_and_yes_or_no_in_labels_are_kept_as_text() -> None:
    assert labels_of({"year": 2026, "length": 2.5, "explicit": True}) == {
        "year": "2026",
        "length": "2.5",
        "explicit": "True",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no json", 'labels: Labels are a flat map of texts, such as {"our_id": "A-17"}.'),
        ("[" * 100_000, "labels: Labels are a flat map of texts"),
        ([1], "labels: Labels are a flat map of texts"),
        ({f"l{n}": "x" for n in range(11)}, "labels: Dictionary should have at most 10 items"),
        ({"a": {"b": "c"}}, "labels 'a': Input should be a valid string."),
        ({"a": None}, "labels 'a': Input should be a valid string."),
        ({"": "x"}, "labels '' '[key]': String should have at least 1 character."),
        ({" ": "x"}, "labels ' ' '[key]': String should have at least 1 character."),
        ({"a": "x" * 257}, "labels 'a': String should have at most 256 characters."),
        ({"n" * 257: "x"}, f"labels '{'n' * 40}' '[key]': String should have at most 256 characters."),
        ({"a": "half \ud83d"}, "labels 'a': Input should be a valid string, unable to parse raw data as a unicode"),
        ({"half \ud83d": "a"}, "labels 'half"),
        ({"a": "nul \0"}, "labels 'a': It holds a character that cannot be stored (NUL)."),
        ({"nul \0": "a"}, "labels 'nul \\x00' '[key]': It holds a character that cannot be stored (NUL)."),
    ],
)
def test_what_is_wrong_with_labels_is_said(given: Any, said: str) -> None:
    (problem,) = labels_of(given)
    assert problem.startswith(said)


@pytest.mark.parametrize(
    ("song", "said"),
    [
        ({"labels": {}}, "music_task_id: Field required."),
        ({"music_task_id": " "}, "music_task_id: Field required."),
        ({"music_task_id": 7}, "music_task_id: Input should be a valid string."),
        ({"music_task_id": "../etc"}, "music_task_id: '../etc' is not a KIE task id: only letters, digits,"),
        ({"music_task_id": f"https://kie.ai/logs?taskId={A}"}, "music_task_id: This is an address"),
        ({"music_task_id": A, "cover_task_id": "a/b"}, "cover_task_id: 'a/b' is not a KIE task id"),
        ({"music_task_id": A, "kie_conn_id": ["x"]}, "kie_conn_id: Input should be a valid string."),
        ({"music_task_id": A, "archive_audio": {}}, "archive_audio: Input should be a valid boolean"),
        ({"music_task_id": A, "archive_lyrics": "maybe"}, "archive_lyrics: Input should be a valid boolean"),
    ],
)
def test_a_song_that_cannot_be_taken_says_which_field_is_wrong_and_what_is_allowed(song: Any, said: str) -> None:
    songs, problems = requests_in([{"music_task_id": B}, song])
    assert [song.music_task_id for song in songs] == [B]
    assert [problem[: len(said)] for problem in problems] == [said]


def test_all_problems_of_a_song_are_said_at_once() -> None:
    songs, problems = requests_in([{"music_task_id": "a/b", "archive_audio": "maybe", "labels": {"a": None, "b": []}}])
    assert (songs, len(problems)) == ([], 4)


def test_a_song_is_asked_for_once_with_its_own_labels_over_those_of_all() -> None:
    songs, problems = requests_in(
        [{"music_task_id": A}, {"music_task_id": A, "labels": {"a": "2"}}], {"a": "1", "b": "1"}
    )
    assert ([dict(song.labels) for song in songs], problems) == ([{"a": "2", "b": "1"}], [])


def test_what_is_empty_counts_as_not_given_and_other_fields_are_left_out() -> None:
    ((song,), problems) = requests_in(
        [{"music_task_id": f" {A} ", "kie_conn_id": "", "archive_audio": " true ", "cover_task_id": None, "x": 1}]
    )
    assert (song.music_task_id, song.kie_conn_id, song.archive_audio, song.cover_task_id) == (A, "", True, None)
    assert problems == []


@pytest.mark.parametrize("given", [[{"music_task_id": A}], json.dumps([{"music_task_id": A}])])
def test_songs_come_as_a_list_or_its_json(given: Any) -> None:
    assert list(songs_in(given)) == [{"music_task_id": A}]


@pytest.mark.parametrize("given", ["nonsense", [A], {"labels": {}}, 7, "7", "true"])
def test_what_is_no_list_of_songs_is_refused_with_an_example(given: Any) -> None:
    with pytest.raises(ValueError, match="list of maps such as"):
        songs_in(given)


def test_counts_are_digits_with_a_noun_that_agrees() -> None:
    assert [counted(0), counted(1), counted(9, "file")] == ["0 songs", "1 song", "9 files"]
