"""The inbox: objects that people and programs drop into `<bucket>/inbox/`, and the songs that they name.

An object is read by its name's ending: JSON (one id, one song, a list of either), JSON Lines, or CSV with a header.
It is all or nothing: one unreadable line rejects the object, so that nobody has to find out which half was taken.
Whatever an object holds, reading it ends in its songs or in :class:`InboxUnreadable`: none stops another one.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_kie.archive.inbox.song_request import first_of, id_errors, is_storable, label_errors

MAX_BYTES = 5 * 1024 * 1024
"""No inbox object may be larger."""
MAX_DEPTH = 20
"""Lists in lists, and maps with lists of songs, may be nested this deep."""
_LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line of JSON; `splitlines` also takes characters that may be in a text."""
_DELIMITERS = (",", ";", "\t")
"""What parts the columns of a CSV file: spreadsheets take a semicolon where the comma is the decimal sign."""
_OWN_COLUMNS = ("music_task_id", "kie_conn_id", "archive_audio", "archive_lyrics", "cover_task_id", "labels")


class InboxUnreadable(ValueError):
    """An inbox object that cannot be read; the message says why, for the `.reason.txt` beside it."""


Song = Mapping[str, Any]
"""``{music_task_id, kie_conn_id?, labels?, archive_audio?, archive_lyrics?, cover_task_id?}``"""


@dataclass(frozen=True)
class InboxObject:
    """One version of an object of the inbox.

    :param key: where it is.
    :param etag: S3's name of this version.
    :param digest: 32 hex digits that tell this version from every other object: the only name of it outside the
        bucket, since people choose keys.
    :param songs: the songs that it names.
    """

    key: str
    etag: str
    digest: str
    songs: tuple[Song, ...]


def shown(key: str) -> str:
    """Return a key for one line of a log: escaped, and at most 200 characters of it."""
    return ascii(key)[1:-1][:200]


def read_songs(key: str, body: bytes) -> tuple[Song, ...]:
    """Return the songs that an inbox object names.

    :param key: its key; the ending decides how it is read, JSON if it says nothing.
    :param body: its bytes, UTF-8 with or without a byte order mark.
    :raises InboxUnreadable: saying what is wrong, and in which line where there are lines.
    """
    try:
        return _read(key, body)
    except InboxUnreadable:
        raise
    except RecursionError as error:
        raise InboxUnreadable("It is nested too deeply.") from error
    except Exception as error:  # whatever somebody's object makes a parser raise
        raise InboxUnreadable(f"It cannot be read ({type(error).__name__}).") from error


def _read(key: str, body: bytes) -> tuple[Song, ...]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InboxUnreadable(f"It is no UTF-8 text (byte {error.start}).") from error
    reader = _READERS.get(key.rpartition(".")[2].lower(), _json_songs)
    songs = tuple(reader(text))
    if not songs:
        raise InboxUnreadable("It names no song.")
    problems = first_of(problem for song in songs for problem in _problems(song))
    if problems:
        raise InboxUnreadable(problems)
    return songs


def _json_songs(text: str) -> Iterator[Song]:
    yield from _songs_in(_decoded(text, "It"))


def _json_lines(text: str) -> Iterator[Song]:
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if line.strip():
            yield from _songs_in(_decoded(line, f"Line {number}"))


def _csv_songs(text: str) -> Iterator[Song]:
    for delimiter in _DELIMITERS:
        # None translates line ends: the csv module takes a carriage return alone for a problem.
        lines = io.StringIO(text, newline=None)
        rows = csv.DictReader(lines, skipinitialspace=True, delimiter=delimiter, strict=True)
        if "music_task_id" in _columns(rows):
            break
    else:
        raise InboxUnreadable(
            "Its first line names no column music_task_id; columns are parted by commas, semicolons or tabs."
        )
    try:
        for row in rows:
            yield _song_in_row(row, rows.line_num)
    except csv.Error as error:
        raise InboxUnreadable(f"Line {rows.reader.line_num} is no CSV: {error}.") from error


def _columns(rows: csv.DictReader[str]) -> Sequence[str]:
    try:
        return rows.fieldnames or ()
    except csv.Error as error:
        raise InboxUnreadable(f"Its first line is no CSV: {error}.") from error


def _song_in_row(row: Mapping[Any, Any], line: int) -> Song:
    if row.get(None):
        raise InboxUnreadable(f"Line {line} has more fields than the first line has columns.")
    own = {name: row[name] for name in _OWN_COLUMNS if row.get(name) and name != "labels"}
    labels = {name: value for name, value in row.items() if value and name not in _OWN_COLUMNS}
    return {**own, "labels": labels}


_READERS: Mapping[str, Callable[[str], Iterator[Song]]] = {
    "json": _json_songs,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "csv": _csv_songs,
}


def _decoded(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InboxUnreadable(f"{what} is nested too deeply.") from error
    except ValueError as error:
        raise InboxUnreadable(f"{what} is no JSON: {error}.") from error


def _songs_in(value: Any, depth: int = 0) -> Iterator[Song]:
    """Yield the songs in a JSON value: an id, a song, a list of either, or a map that holds such a list."""
    if depth > MAX_DEPTH:
        raise InboxUnreadable("It is nested too deeply.")
    if isinstance(value, str):
        yield {"music_task_id": value.strip()}
    elif isinstance(value, list):
        for item in value:
            yield from _songs_in(item, depth + 1)
    elif isinstance(value, Mapping) and "music_task_id" in value:
        yield {name: value[name] for name in _OWN_COLUMNS if value.get(name) not in (None, "")}
    elif isinstance(value, Mapping) and isinstance(value.get("songs", value.get("music_task_ids")), list):
        common = {name: value[name] for name in _OWN_COLUMNS[1:] if value.get(name) not in (None, "")}
        for song in _songs_in(value.get("songs", value.get("music_task_ids")), depth + 1):
            yield {**common, **song}
    else:
        raise InboxUnreadable('A song is an id, or a map such as {"music_task_id": "…", "labels": {"our_id": "A-17"}}.')


def _problems(song: Song) -> list[str]:
    problems = [
        f"{name} is no text."
        for name in ("music_task_id", "kie_conn_id", "cover_task_id")
        if name in song and not (isinstance(song[name], str) and is_storable(song[name]))
    ]
    problems += [
        f"{name} is neither true nor false."
        for name in ("archive_audio", "archive_lyrics")
        if not isinstance(song.get(name, False), (bool, str))
    ]
    if not problems:
        problems = id_errors([song.get("music_task_id", "")])
        problems += id_errors([song["cover_task_id"]] if "cover_task_id" in song else [])
    labels = song.get("labels") or {}
    if not isinstance(labels, Mapping):
        return [*problems, "Labels are a flat map of texts."]
    return [*problems, *label_errors(labels)]
