"""The formats of objects in the inbox, `<bucket>/inbox/`, and the songs that they name.

An object is read by its name's ending: JSON (one id, one song, a list of either), JSON Lines, or CSV with a header.
It is all or nothing: one unreadable line rejects the object, so that nobody has to find out which half was taken.
Whatever an object holds, reading it ends in its songs or in :class:`InboxUnreadable`: none stops another one.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airflow_kie.archive.inbox.song_request import SongRequest, first_of, requests_in

MAX_DEPTH = 20
"""Lists in lists, and maps with lists of songs, may be nested this deep."""
_LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line of JSON; `splitlines` also takes characters that may be in a text."""
_DELIMITERS = (",", ";", "\t")
"""What separates the columns of a CSV file: spreadsheets take a semicolon where the comma is the decimal sign."""

Fields = Mapping[str, Any]
"""Fields of a :class:`SongRequest`, not checked yet."""


class InboxUnreadable(ValueError):
    """An inbox object that cannot be read; the message says why, for the `.reason.txt` beside it."""


def shown(key: str) -> str:
    """Return a key for one line of a log: escaped, and at most 200 characters of it."""
    return ascii(key)[1:-1][:200]


def read_songs(key: str, body: bytes) -> list[SongRequest]:
    """Return the songs that an inbox object names.

    :param key: its key; the ending decides how it is read, JSON if it says nothing.
    :param body: its bytes, UTF-8 with or without a byte order mark.
    :raises InboxUnreadable: saying what is wrong, and in which line where there are lines.
    """
    try:
        text = body.decode("utf-8-sig")
        reader = _READERS.get(key.rpartition(".")[2].lower(), _json_songs)
        songs, problems = requests_in({**song, "received_from": "inbox"} for song in reader(text))
    except InboxUnreadable:
        raise
    except UnicodeDecodeError as error:
        raise InboxUnreadable(f"It is not UTF-8 text (byte {error.start}).") from error
    except RecursionError as error:
        raise InboxUnreadable("It is nested too deeply.") from error
    except Exception as error:  # whatever somebody's object makes a parser raise
        raise InboxUnreadable(f"It cannot be read ({type(error).__name__}).") from error
    if problems or not songs:
        raise InboxUnreadable(first_of(problems) or "It names no song.")
    return songs


def _json_songs(text: str) -> Iterator[Fields]:
    yield from _songs_in(_decoded(text, "It"))


def _json_lines(text: str) -> Iterator[Fields]:
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if line.strip():
            yield from _songs_in(_decoded(line, f"Line {number}"))


def _csv_songs(text: str) -> Iterator[Fields]:
    rows = next(filter(None, (_rows(text, delimiter) for delimiter in _DELIMITERS)), None)
    if rows is None:
        raise InboxUnreadable(
            "Its first line names no column music_task_id; columns are separated by commas, semicolons or tabs."
        )
    try:
        for row in rows:
            yield _song_in_row(row, rows.line_num)
    except csv.Error as error:
        raise InboxUnreadable(f"Line {max(rows.reader.line_num, 1)} is not CSV: {error}.") from error


def _rows(text: str, delimiter: str) -> csv.DictReader[str] | None:
    """Return the rows of a CSV file; None if its first line names no column music_task_id with this delimiter."""
    # None translates line ends: the csv module takes a carriage return alone for a problem.
    lines = io.StringIO(text, newline=None)
    rows = csv.DictReader(lines, skipinitialspace=True, delimiter=delimiter, strict=True)
    try:
        rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
    except csv.Error:  # such as a quote that ends before another delimiter
        return None
    return rows if "music_task_id" in rows.fieldnames else None


def _song_in_row(row: Mapping[Any, Any], line: int) -> Fields:
    if row.get(None):
        raise InboxUnreadable(f"Line {line} has more fields than the first line has columns.")
    labels = _decoded(given, f"The column labels of line {line}") if (given := row.get("labels")) else {}
    more = {name: value for name, value in row.items() if value and name not in SongRequest.model_fields}
    return {**row, "labels": {**labels, **more} if isinstance(labels, Mapping) else labels}


_READERS: Mapping[str, Callable[[str], Iterator[Fields]]] = {
    "json": _json_songs,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "csv": _csv_songs,
}


def _decoded(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InboxUnreadable(f"{what} is not JSON: {error}.") from error


def _songs_in(value: Any, depth: int = 0) -> Iterator[Fields]:
    """Yield the songs in a JSON value: an id, a song, a list of either, or a map that holds such a list."""
    if depth > MAX_DEPTH:
        raise InboxUnreadable("It is nested too deeply.")
    if isinstance(value, str):
        yield {"music_task_id": value}
    elif isinstance(value, list):
        for item in value:
            yield from _songs_in(item, depth + 1)
    elif isinstance(value, Mapping) and "music_task_id" in value:
        yield value
    elif isinstance(value, Mapping) and isinstance(songs := value.get("songs", value.get("music_task_ids")), list):
        for song in _songs_in(songs, depth + 1):
            yield {**value, **{name: own for name, own in song.items() if own not in (None, "")}}
    else:
        raise InboxUnreadable('A song is an id, or a map such as {"music_task_id": "…", "labels": {"our_id": "A-17"}}.')
