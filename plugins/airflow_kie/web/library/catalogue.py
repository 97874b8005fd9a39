"""A search catalogue of an archive's index, in a file of this machine: no request reads the whole index.

Objects of the index never change, so each is read once, whatever process reads it. The newest month is read first:
before there is a file the newest results are shown within a second, and the others as they come.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from airflow_kie.archive.index.entry import IndexEntry
from airflow_kie.archive.index.segments import Index
from airflow_kie.client.errors import KieError
from airflow_kie.web.library.catalogue_file import own_file
from airflow_kie.web.library.search import MEDIA, ORDERS, STATES, Search, conditions_of, times

log = logging.getLogger(__name__)

FRESH = 5.0
"""Seconds after which the index is listed again, when somebody asks."""
FIRST_LINES = 48
"""Lines that a request waits for where a catalogue has just begun: a page of the library."""
PATIENT = 0.6
"""Seconds that it waits at most."""
SCHEMA = """
create table if not exists entry (number integer primary key, key text unique, operation text, medium text, model text,
    archived_at text, expires_at text, chosen text, title text, line text);
create index if not exists by_time on entry (archived_at desc, number desc);
create index if not exists by_title on entry (title collate nocase, archived_at desc);
create index if not exists by_model on entry (model);
create index if not exists by_choice on entry (chosen, archived_at desc);
create index if not exists by_kind on entry (operation, medium, model, chosen, expires_at);
create table if not exists label (entry integer, text text, primary key (text, entry)) without rowid;
create index if not exists label_of on label (entry);
create virtual table if not exists words using fts5 (text, content='', tokenize='unicode61 remove_diacritics 2');
create table if not exists segment (key text primary key);
"""
_FORGET = (
    *("delete from entry", "delete from label", "delete from segment"),
    "insert into words (words) values ('delete-all')",
)
_AT_ONCE = 500
"""Lines that are put in before others may write, and before a search finds them."""
_COUNTED = {
    "model": "select model, count(*) from entry where model is not null group by model order by 2 desc limit 30",
    "label": "select text, count(*) from label group by text order by 2 desc, text limit 100",
}
"""Filter → the values that there are, and how many results have each, the most frequent first."""


@dataclass(frozen=True)
class Found:
    """What was found.

    :param entries: one page of it.
    :param count: how many there are.
    :param total: how many results the catalogue has.
    :param counts: filter → its values, and how many results of the whole catalogue have each.
    :param complete: False: objects of the index are still being read.
    """

    entries: tuple[IndexEntry, ...]
    count: int
    total: int
    counts: Mapping[str, Mapping[str, int]]
    complete: bool


@dataclass
class Catalogue:
    """The catalogue of one archive.

    :param index: the archive's.
    :param file: where it is kept; None: in a file of its own, for as long as it lives.
    """

    index: Index
    file: Path | None = None
    _file: Path = field(init=False, repr=False)
    _listed_at: float = field(default=0.0, init=False)
    _complete: bool = field(default=False, init=False)
    _changes: int = field(default=0, init=False)
    _lines: int = field(default=0, init=False)
    _counted: tuple[Any, Mapping[str, Mapping[str, int]]] = field(default=(None, {}), init=False, repr=False)
    _failed: KieError | None = field(default=None, init=False)
    _some: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _syncing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self._file = self.file or own_file(self)
        try:
            self._make()
        except sqlite3.DatabaseError as error:
            log.warning("The library's file %s is damaged and is made again: %s", self._file, error)
            for name in ("", "-wal", "-shm"):
                self._file.with_name(self._file.name + name).unlink(missing_ok=True)
            self._make()

    def _make(self) -> None:
        with self._open() as base:
            base.execute("pragma journal_mode = wal")
            base.executescript(SCHEMA)

    def find(self, search: Search, first: int, count: int) -> Found:
        """Return a page of what is searched for.

        :param first: how many are left out before it.
        :param count: how many at most.
        :raises KieError: when the index cannot be read, and nothing was read of it before.
        """
        self._refresh()
        complete = self._complete  # what comes meanwhile may not be in the lines below
        where, values = conditions_of(search)
        with self._open() as base:
            total = base.execute("select count(*) from entry").fetchone()[0]
            if self._failed is not None and not total:
                raise self._failed
            # Conditions and orders are our own texts; what somebody searches for is among the values alone.
            counting = f"select count(*) from entry {where}"  # noqa: S608
            matches = base.execute(counting, values).fetchone()[0] if where else total
            order = ORDERS.get(search.order, ORDERS["newest"])
            # Numbers alone are sorted and passed over: with the lines it takes seconds where there are 100,000.
            page = f"select number from entry {where} order by {order} limit :count offset :first"  # noqa: S608
            paging = f"select line from entry where number in ({page}) order by {order}"  # noqa: S608
            lines = base.execute(paging, {**values, "count": count, "first": first})
            entries = tuple(IndexEntry.model_validate_json(line) for (line,) in lines)
            return Found(entries, matches, total, self._counts(base), complete)

    def neighbours(self, search: Search, key: str) -> tuple[IndexEntry | None, IndexEntry | None]:
        """Return the results before and after one in the order of a search, None where there is none.

        :param key: of the one.
        """
        self._refresh()
        where, values = conditions_of(search)
        order = ORDERS.get(search.order, ORDERS["newest"])
        ordered = f"select number, lag(number) over w as a, lead(number) over w as b from entry {where} window w as (order by {order})"  # noqa: E501, S608
        one = f"select a, b from ({ordered}) where number = (select number from entry where key = :key)"  # noqa: S608
        with self._open() as base:
            row = base.execute(one, {**values, "key": key}).fetchone() or (None, None)
            lines = [base.execute("select line from entry where number = ?", (number,)).fetchone() for number in row]
        before, after = (IndexEntry.model_validate_json(line[0]) if line else None for line in lines)
        return before, after

    def entry(self, key: str) -> IndexEntry | None:
        """Return one result; None where the index does not list it, as far as it was read.

        :param key: its :attr:`~airflow_kie.archive.index.entry.IndexEntry.key`.
        """
        with self._open() as base:
            row = base.execute("select line from entry where key = ?", (key,)).fetchone()
        return IndexEntry.model_validate_json(row[0]) if row else None

    def add(self, *entries: IndexEntry) -> None:
        """Add lines to the index, and to this catalogue, so that the next search finds them.

        :raises S3Error: its subclass says why.
        """
        self.index.add(entries)
        with self._open(writes=True) as base:
            for entry in entries:
                _put(base, entry)
        self._changes += 1

    # --- how ---

    def _counts(self, base: sqlite3.Connection) -> Mapping[str, Mapping[str, int]]:
        """Return how many results each value of a filter has, counted at most once a minute while nothing changes."""
        at = (self._changes, int(time.monotonic() / 60))
        if self._counted[0] != at:
            counts = {name: dict(base.execute(query).fetchall()) for name, query in _COUNTED.items()}
            conditions = {"medium": dict.fromkeys(MEDIA, "instr(medium, :value) > 0"), "state": STATES}
            counting = "select count(*) from entry where "  # the conditions are our own texts
            for name, of in conditions.items():
                counts[name] = {
                    value: base.execute(counting + condition, times() | {"value": value}).fetchone()[0]
                    for value, condition in of.items()
                }
            self._counted = (at, counts)
        return self._counted[1]

    def _refresh(self) -> None:
        if time.monotonic() - self._listed_at > FRESH and self._syncing.acquire(blocking=False):
            threading.Thread(target=self._sync, name="kie-library", daemon=True).start()
        self._some.wait(PATIENT)

    def _sync(self) -> None:
        """Read the objects that are not known; the lock is held, and is given back at the end."""
        try:
            os.utime(self._file)
            with self._open() as base:
                known = {key for (key,) in base.execute("select key from segment")}
            there = self.index.segments()
            if known and known.isdisjoint(there):  # written again, or another archive under the same name
                self._complete, known = False, set()
                with self._open(writes=True) as base:
                    for statement in _FORGET:
                        base.execute(statement)
            for key, entries in self.index.read_many(key for key in there if key not in known):
                self._take(key, entries)
            self._complete, self._failed = True, None
        except KieError as error:
            log.warning("The library cannot read its index: %s", error)
            self._failed = error
        except Exception:
            log.exception("The library cannot be brought up to date.")
        finally:
            self._listed_at = time.monotonic()
            self._some.set()
            self._syncing.release()

    def _take(self, key: str, entries: Iterable[IndexEntry]) -> None:
        with self._open() as base:
            if base.execute("select 1 from segment where key = ?", (key,)).fetchone():
                return  # another process was faster
        waiting = iter(entries)
        while some := list(islice(waiting, _AT_ONCE)):
            with self._open(writes=True) as base:
                for entry in some:
                    _put(base, entry)
            self._changes += 1
            self._lines += len(some)
            if self._lines >= FIRST_LINES:
                self._some.set()
        with self._open(writes=True) as base:
            base.execute("insert or ignore into segment values (?)", (key,))

    def _open(self, *, writes: bool = False) -> Any:
        return _Transaction(self._file, writes=writes)


class _Transaction:
    """A connection of its own, committed and closed at the end: SQLite's are of one thread.

    :param writes: what it reads stays as it is until it has written: other processes may write too.
    """

    def __init__(self, file: Path, *, writes: bool) -> None:
        self._base = sqlite3.connect(file, timeout=60)
        self._writes = writes

    def __enter__(self) -> sqlite3.Connection:
        if self._writes:
            self._base.execute("begin immediate")
        return self._base

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            self._base.rollback() if failed else self._base.commit()
        finally:
            self._base.close()


def _put(base: sqlite3.Connection, entry: IndexEntry) -> None:
    """Put a line into the catalogue, merged with the one of the same result that is there."""
    stored = base.execute("select number, line from entry where key = ?", (entry.key,)).fetchone()
    if stored:
        number, known = stored[0], IndexEntry.model_validate_json(stored[1])
        entry = known.merged_with(entry)
        if entry == known:
            return
        base.execute("insert into words (words, rowid, text) values ('delete', ?, ?)", (number, known.words))
        base.execute("delete from entry where number = ?", (number,))
        base.execute("delete from label where entry = ?", (number,))
    if entry.deleted:
        return
    row = base.execute(
        "insert into entry (key, operation, medium, model, archived_at, expires_at, chosen, title, line)"
        " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.key,
            entry.operation,
            " ".join(entry.media),
            entry.model,
            entry.archived_at.isoformat(),
            entry.expires_at.isoformat() if entry.expires_at else None,
            entry.chosen,
            entry.title or entry.id,
            entry.model_dump_json(),
        ),
    )
    base.execute("insert into words (rowid, text) values (?, ?)", (row.lastrowid, entry.words))
    labels = [(row.lastrowid, f"{label.name}: {label.value}") for label in entry.labels]
    base.executemany("insert or ignore into label values (?, ?)", labels)
