"""What may lie in the inbox: each way to name songs is read, and what cannot be read says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.archive.inbox.objects import InboxUnreadable, read_songs

A, B = "a" * 32, "b" * 32


def songs(name: str, text: str) -> list[dict[str, Any]]:
    """Return the songs that an object names."""
    return [song.model_dump(exclude_unset=True) for song in read_songs(f"inbox/{name}", text.encode())]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one.json", json.dumps([A, {"music_task_id": B}])),
        ("no ending", json.dumps({"songs": [A, B]})),
        ("lines.jsonl", f'"{A}"\n\n{{"music_task_id": "{B}"}}\n'),
        ("lines.ndjson", f'"{A}"\r\n"{B}"'),
        ("rows.csv", f"music_task_id\n{A}\n{B}\n"),
        ("ROWS.CSV", f"\ufeffmusic_task_id\r\n{A}\r\n{B}\r\n"),
    ],
)
def test_songs_are_named_in_json_lines_of_json_or_csv(name: str, text: str) -> None:
    assert [song["music_task_id"] for song in songs(name, text)] == [A, B]


@pytest.mark.parametrize("delimiter", [",", ", ", ";", "\t"])
def test_a_spreadsheets_columns_are_ours_or_labels_whatever_parts_them(delimiter: str) -> None:
    rows = [("music_task_id", "album", "archive_audio"), (A, "Red", "true"), (B, "", "")]
    assert songs("rows.csv", "\n".join(delimiter.join(row) for row in rows)) == [
        {"labels": {"album": "Red"}, "music_task_id": A, "archive_audio": True, "received_from": "inbox"},
        {"labels": {}, "music_task_id": B, "received_from": "inbox"},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("names", ['"music_task_id"{}"album"', "music_task_id {} album "])
def test_names_of_columns_may_be_in_quotes_or_have_blanks_around_them(delimiter: str, names: str) -> None:
    (song,) = songs("rows.csv", names.format(delimiter) + f'\n"{A}"{delimiter}"Red; or, blue"\n')
    assert (song["music_task_id"], song["labels"]) == (A, {"album": "Red; or, blue"})


def test_a_column_of_labels_is_what_a_songs_labels_are_elsewhere() -> None:
    (song,) = songs("rows.csv", f'music_task_id,labels,album\n{A},"{{""our_id"": ""A-17""}}",Red\n')
    assert song["labels"] == {"our_id": "A-17", "album": "Red"}


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("x.json", '{"music_task_id": ', "It is not JSON"),
        ("x.jsonl", f'"{A}"\nnonsense', "Line 2 is not JSON"),
        ("x.csv", f"id;album\n{A};Red", "names no column music_task_id; columns are separated by commas, semicolons"),
        ("x.csv", f"music_task_id,album\n{A},Red,Blue", "Line 2 has more fields"),
        ("x.csv", "music_task_id\n", "names no song"),
        ("x.csv", f"music_task_id,labels\n{A},Red", "The column labels of line 2 is not JSON"),
        ("x.csv", f"music_task_id,labels\n{A},[]", "Labels are a flat map"),
        ("x.json", "[]", "names no song"),
        ("x.json", '{"id": 7}', "A song is an id"),
        ("x.json", '"../etc"', "is not a KIE task id"),
        ("x.json", json.dumps({"music_task_id": A, "labels": ["x"]}), "Labels are a flat map"),
    ],
)
def test_what_cannot_be_read_says_why(name: str, text: str, why: str) -> None:
    with pytest.raises(InboxUnreadable, match=why):
        songs(name, text)


def test_what_is_no_text_says_so() -> None:
    with pytest.raises(InboxUnreadable, match="It is not UTF-8 text"):
        read_songs("inbox/x.csv", b"music_task_id\n\xff\xfe")
