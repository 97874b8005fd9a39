"""Lines of the index on their way into a catalogue's file: thousands at once.

Of a line is read here what a search, a filter or an order needs, by a decoder that is twenty times as fast as the
line's own class. The line itself is kept as it came; its class reads it when it is shown.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from unicodedata import combining, normalize

import msgspec
from pydantic import ValidationError

from airflow_kie.archive.index.entry import IndexEntry, Searched
from airflow_kie.archive.record_base import utc_text

log = logging.getLogger(__name__)

SCHEMA = """
create table if not exists entry (number integer primary key, key text unique, operation text, medium text, model text,
    archived_at text, expires_at text, chosen text, title text);
create table if not exists line (number integer primary key, text blob);
create index if not exists by_time on entry (archived_at desc, number desc);
create index if not exists by_title on entry (title, archived_at desc, number desc);
create table if not exists label (entry integer, text text, primary key (text, entry)) without rowid;
create index if not exists label_of on label (entry);
create virtual table if not exists words using fts5 (text, content='', tokenize='unicode61 remove_diacritics 2');
create table if not exists segment (key text primary key);
create table if not exists gone (key text primary key, updated_at text);
"""
"""Lines lie apart from what is sorted and counted, which then fits into memory."""
FORGET = (
    *("delete from entry", "delete from line", "delete from label", "delete from segment", "delete from gone"),
    "insert into words (words) values ('delete-all')",
)
_KNOWN = 500
"""Keys that are requested at once: SQLite takes a thousand values at most."""
_INSERT = {
    "entry": "insert into entry values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "line": "insert into line values (?, ?)",
    "words": "insert into words (rowid, text) values (?, ?)",
    "label": "insert or ignore into label values (?, ?)",
}
_REMOVE = tuple(
    f"delete from {table} where {number} = ?"  # noqa: S608 - our own names
    for table, number in {"entry": "number", "line": "number", "label": "entry"}.items()
)
_GONE = """insert into gone values (?, ?)
    on conflict (key) do update set updated_at = max(updated_at, excluded.updated_at)"""
_When = Annotated[datetime, msgspec.Meta(tz=True)]


class _File(msgspec.Struct, gc=False):
    kind: str
    content_type: str


class _Label(msgspec.Struct, gc=False):
    name: str
    value: str


class _Choice(msgspec.Struct, gc=False):
    cover: int | None = None
    track: int | None = None
    rejected: bool = False


class Line(Searched, msgspec.Struct):
    """What is searched, filtered and sorted of one line."""

    id: str
    operation: str
    archived_at: _When
    updated_at: _When
    title: str | None = None
    prompt: str | None = None
    tags: str | None = None
    model: str | None = None
    labels: tuple[_Label, ...] = ()
    files: tuple[_File, ...] = ()
    choice: _Choice | None = None
    expires_at: _When | None = None
    deleted: bool = False


_decode = msgspec.json.Decoder(Line).decode


def put(base: sqlite3.Connection, texts: Sequence[bytes]) -> int:
    """Put lines into a catalogue, each merged with the one of the same result that is there.

    :param base: the catalogue, in a transaction that writes.
    :param texts: lines as the index has them.
    :return: how many are damaged and were left out.
    """
    lines: list[tuple[str, Line, bytes]] = []
    for text in texts:
        try:
            line = _decode(text)
        except ValueError:
            continue
        lines.append((line.key, line, text))
    known = _known(base, [key for key, _, _ in lines])
    base.executemany(_GONE, [(key, utc_text(line.updated_at)) for key, line, _ in lines if line.deleted])
    gone = dict(base.execute("select key, updated_at from gone"))
    new: dict[str, tuple[Line, bytes]] = {}
    others = []
    for key, line, text in lines:
        if not line.deleted and key in gone and utc_text(line.updated_at) <= gone[key]:
            continue  # the newest object is read first
        if line.deleted or key in known or key in new:
            others.append((line, text))
        else:
            new[key] = (line, text)
    _insert(base, new)
    merged = [_merge(base, line, text) for line, text in others]
    return len(texts) - len(lines) + merged.count(False)


def _known(base: sqlite3.Connection, keys: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for start in range(0, len(keys), _KNOWN):
        some = keys[start : start + _KNOWN]
        query = f"select key from entry where key in ({','.join('?' * len(some))})"  # noqa: S608 - only question marks
        known.update(key for (key,) in base.execute(query, some))
    return known


def _insert(base: sqlite3.Connection, lines: Mapping[str, tuple[Line, bytes]]) -> None:
    first = base.execute("select coalesce(max(number), 0) + 1 from entry").fetchone()[0]
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERT}
    for number, (key, (line, text)) in enumerate(lines.items(), first):
        expires_at = utc_text(line.expires_at) if line.expires_at else None
        facts = (key, line.operation, " ".join(line.media), line.model, utc_text(line.archived_at), expires_at)
        rows["entry"].append((number, *facts, line.chosen, _sorted_as(line.title or line.id)))
        rows["line"].append((number, text))
        rows["words"].append((number, line.words))
        rows["label"].extend((number, f"{label.name}: {label.value}") for label in line.labels)
    for table, some in rows.items():
        base.executemany(_INSERT[table], some)


def _sorted_as(title: str) -> str:
    """Return a title without its case and accents."""
    if title.isascii():
        return title.lower()
    return "".join(char for char in normalize("NFKD", title.casefold()) if not combining(char))


def _merge(base: sqlite3.Connection, line: Line, text: bytes) -> bool:
    """Merge a line with the one that is there, if there is one; return False where it is damaged."""
    query = "select number, text from entry join line using (number) where key = ?"
    stored = base.execute(query, (line.key,)).fetchone()
    if stored is None:
        if not line.deleted:
            _insert(base, {line.key: (line, text)})
        return True
    try:
        entry = IndexEntry.model_validate_json(text)
    except ValidationError:
        return False
    number, known = stored
    before = shown(known)
    merged = before.merged_with(entry) if before else entry
    if merged == before:
        return True
    base.execute("insert into words (words, rowid, text) values ('delete', ?, ?)", (number, _decode(known).words))
    for statement in _REMOVE:
        base.execute(statement, (number,))
    if not merged.deleted:
        new = merged.model_dump_json().encode()
        _insert(base, {line.key: (_decode(new), new)})
    return True


def shown(text: bytes) -> IndexEntry | None:
    """Return a line as it is shown; None for a damaged one, with a warning."""
    try:
        return IndexEntry.model_validate_json(text)
    except ValidationError as error:
        fields = ", ".join(str(part["loc"][0]) for part in error.errors(include_input=False)[:5])
        log.warning("A line of the index is damaged: %s. `airflow kie index --rebuild` repairs it.", fields)
        return None
