"""The inbox: objects that people and programs drop into `<bucket>/inbox/`, and the songs that they name.

An object is read by its name's ending: JSON (one id, one song, a list of either), JSON Lines, or CSV with a header.
It is all or nothing: one unreadable line rejects the object, so that nobody has to find out which half was taken.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kie.archive.keys import INBOX, is_waiting_in_inbox
from airflow_kie.songs import mistakes_in_ids, mistakes_in_labels

MAX_BYTES = 5 * 1024 * 1024
"""No inbox object may be larger."""
_DELIMITERS = (",", ";", "\t")
"""What parts the columns of a CSV file: spreadsheets take a semicolon where the comma is the decimal sign."""
_OWN_COLUMNS = ("music_task_id", "kie_conn_id", "archive_audio", "archive_lyrics", "cover_task_id", "labels")


class InboxUnreadable(ValueError):
    """An inbox object that cannot be read; the message says why, for the `.reason.txt` beside it."""


@dataclass(frozen=True)
class InboxObject:
    """One object of the inbox.

    :param key: where it stands.
    :param songs: the songs that it names: ``{music_task_id, kie_conn_id?, labels?, archive_audio?, archive_lyrics?}``.
    """

    key: str
    songs: tuple[Mapping[str, Any], ...]

    @property
    def digest(self) -> str:
        """What tells an object with its songs from every other one."""
        return hashlib.sha256(repr((self.key, self.songs)).encode()).hexdigest()[:12]


def run_for(item: InboxObject) -> dict[str, Any]:
    """Return the arguments of the one run for an object; the same object never makes a second run."""
    name = item.key.rpartition("/")[2]
    return {
        "trigger_run_id": f"inbox__{name[:80]}__{item.digest}",
        "conf": {"songs": [{**song, "heard_from": "inbox"} for song in item.songs]},
    }


def waiting_keys(keys: Iterator[str]) -> Iterator[str]:
    """Return the keys that wait in the inbox, among the keys below it."""
    return (key for key in keys if key.startswith(INBOX) and is_waiting_in_inbox(key))


def read_object(key: str, body: bytes) -> InboxObject:
    """Return the songs that an inbox object names.

    :param key: its key; the ending decides how it is read, JSON if it says nothing.
    :param body: its bytes, UTF-8 with or without a byte order mark.
    :raises InboxUnreadable: saying what is wrong, and in which line where there are lines.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InboxUnreadable(f"It is no UTF-8 text (byte {error.start}).") from error
    reader = _READERS.get(key.rpartition(".")[2].lower(), _json_songs)
    songs = tuple(reader(text))
    if not songs:
        raise InboxUnreadable("It names no song.")
    mistakes = [mistake for song in songs for mistake in _mistakes(song)]
    if mistakes:
        raise InboxUnreadable(" ".join(dict.fromkeys(mistakes)))
    return InboxObject(key, songs)


def _json_songs(text: str) -> Iterator[Mapping[str, Any]]:
    yield from _songs_in(_decoded(text, "It"))


def _json_lines(text: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield from _songs_in(_decoded(line, f"Line {number}"))


def _csv_songs(text: str) -> Iterator[Mapping[str, Any]]:
    for delimiter in _DELIMITERS:
        rows = csv.DictReader(io.StringIO(text), skipinitialspace=True, delimiter=delimiter)
        if "music_task_id" in (rows.fieldnames or ()):
            break
    else:
        raise InboxUnreadable(
            "Its first line names no column music_task_id; columns are parted by commas, semicolons or tabs."
        )
    for row in rows:
        if row.get(None):
            raise InboxUnreadable(f"Line {rows.line_num} has more fields than the first line has columns.")
        own = {name: row[name] for name in _OWN_COLUMNS if row.get(name) and name != "labels"}
        labels = {name: value for name, value in row.items() if value and name not in _OWN_COLUMNS}
        yield {**own, "labels": labels}


_READERS: Mapping[str, Callable[[str], Iterator[Mapping[str, Any]]]] = {
    "json": _json_songs,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "csv": _csv_songs,
}


def _decoded(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InboxUnreadable(f"{what} is no JSON: {error}.") from error


def _songs_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the songs in a JSON value: an id, a song, a list of either, or a map that holds such a list."""
    if isinstance(value, str):
        yield {"music_task_id": value.strip()}
    elif isinstance(value, list):
        for item in value:
            yield from _songs_in(item)
    elif isinstance(value, Mapping) and "music_task_id" in value:
        yield {name: value[name] for name in _OWN_COLUMNS if value.get(name) not in (None, "")}
    elif isinstance(value, Mapping) and isinstance(value.get("songs", value.get("music_task_ids")), list):
        common = {name: value[name] for name in _OWN_COLUMNS[1:] if value.get(name) not in (None, "")}
        for song in _songs_in(value.get("songs", value.get("music_task_ids"))):
            yield {**common, **song}
    else:
        raise InboxUnreadable('A song is an id, or a map such as {"music_task_id": "…", "labels": {"our_id": "A-17"}}.')


def _mistakes(song: Mapping[str, Any]) -> list[str]:
    labels = song.get("labels") or {}
    mistakes = mistakes_in_ids([str(song.get("music_task_id") or "")])
    if not isinstance(labels, Mapping):
        return [*mistakes, "Labels are a flat map of texts."]
    return [*mistakes, *mistakes_in_labels(labels)]
