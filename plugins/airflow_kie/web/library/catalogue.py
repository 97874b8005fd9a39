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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from airflow_kie.archive.index.entry import IndexEntry
from airflow_kie.archive.index.segments import Index
from airflow_kie.client.errors import KieError
from airflow_kie.web.library.catalogue_file import own_file
from airflow_kie.web.library.catalogue_lines import FORGET, SCHEMA, put, shown
from airflow_kie.web.library.search import MEDIA, STATES, Search, beyond, conditions_of, order_of, own_terms, times

log = logging.getLogger(__name__)

FRESH = 5.0
"""Seconds after which the index is listed again, when somebody asks."""
FIRST_LINES = 48
"""Lines that a request waits for where a catalogue has just begun: a page of the library."""
PATIENT = 0.6
"""Seconds that it waits at most."""
_AT_ONCE = 2000
"""Lines that are put in before others may write, and before a search finds them."""
_OBJECTS = 100
"""Objects that are put in at once: until they are compacted, each result may have one of its own."""
_FIRST_OBJECTS = 8
"""The same while a request waits: what is there after its wait is shown."""
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
            log.warning("The library's file %s is damaged and will be rebuilt: %s", self._file, error)
            for name in ("", "-wal", "-shm"):
                self._file.with_name(self._file.name + name).unlink(missing_ok=True)
            self._make()

    def _make(self) -> None:
        with _Transaction(self._file, writes=False) as base:
            base.execute("pragma journal_mode = wal")
            base.executescript(SCHEMA)

    def find(self, search: Search, first: int, count: int) -> Found:
        """Return a page of what is searched for.

        :param first: how many are left out before it; behind the last page this is the last page.
        :param count: how many at most.
        :raises KieError: when the index cannot be read, and nothing was read of it before.
        """
        self._refresh()
        where, values = conditions_of(search)
        with self._open() as base:
            complete = self._complete  # what comes meanwhile may not be in the lines below
            total = base.execute("select count(*) from entry").fetchone()[0]
            if self._failed is not None and not total:
                raise self._failed
            # Conditions and orders are our own texts; what somebody searches for is among the values alone.
            counting = f"select count(*) from entry {where}"  # noqa: S608
            matches = base.execute(counting, values).fetchone()[0] if where else total
            first = min(first, max(0, matches - 1) // count * count)
            paging = f"select number from entry {where} order by {order_of(search.order)} limit :count offset :first"  # noqa: S608
            numbers = base.execute(paging, {**values, "count": count, "first": first}).fetchall()
            entries = tuple(entry for (number,) in numbers if (entry := _entry(base, number)))
            return Found(entries, matches, total, self._counts(base), complete)

    def neighbours(self, search: Search, key: str) -> tuple[IndexEntry | None, IndexEntry | None]:
        """Return the results before and after one in the order of a search, None if there is none.

        :param key: of the one.
        """
        self._refresh()
        where, values = conditions_of(search)
        where, values = where or "where true", {**values, "key": key}
        with self._open() as base:
            one = f"select {own_terms(search.order)} from entry {where} and key = :key"  # noqa: S608
            own = base.execute(one, values).fetchone()
            if own is None:
                return None, None
            values |= {f"own{number}": value for number, value in enumerate(own)}
            found = []
            for backwards in (True, False):
                after, order = (of(search.order, backwards=backwards) for of in (beyond, order_of))
                row = base.execute(f"select number from entry {where} and {after} order by {order} limit 1", values)  # noqa: S608
                number = row.fetchone()
                found.append(_entry(base, number[0]) if number else None)
        return found[0], found[1]

    def entry(self, key: str) -> IndexEntry | None:
        """Return one result; None where the index does not list it, as far as it was read.

        :param key: its :attr:`~airflow_kie.archive.index.entry.IndexEntry.key`.
        """
        with self._open() as base:
            row = base.execute("select number from entry where key = ?", (key,)).fetchone()
            return _entry(base, row[0]) if row else None

    def add(self, *entries: IndexEntry) -> None:
        """Add lines to the index, and to this catalogue, so that the next search finds them.

        :raises S3Error: its subclass says why.
        """
        self.index.add(entries)
        with self._open(writes=True) as base:
            put(base, [entry.model_dump_json().encode() for entry in entries])
        self._changes += 1

    # --- how ---

    def _counts(self, base: sqlite3.Connection) -> Mapping[str, Mapping[str, int]]:
        """Return how many results each value of a filter has, counted once a minute while nothing changes.

        While the index is being read, which changes all the time, they are counted every five seconds.
        """
        now = time.monotonic()
        at = (self._changes, int(now / 60)) if self._complete else (-1, int(now / FRESH))
        if self._counted[0] != at:
            counts = {name: dict(base.execute(query).fetchall()) for name, query in _COUNTED.items()}
            conditions = {"medium": {value: f"instr(medium, '{value}') > 0" for value in MEDIA}, "state": STATES}
            for name, of in conditions.items():
                sums = ", ".join(f"count(*) filter (where {condition})" for condition in of.values())
                counted = base.execute(f"select {sums} from entry", times()).fetchone()  # noqa: S608 - our own texts
                counts[name] = dict(zip(of, counted, strict=True))
            self._counted = (at, counts)
        return self._counted[1]

    def _refresh(self) -> None:
        if time.monotonic() - self._listed_at > FRESH and self._syncing.acquire(blocking=False):
            threading.Thread(target=self._sync, name="kie-library", daemon=True).start()
        self._some.wait(PATIENT)

    def _sync(self) -> None:
        """Read the objects that are not known; the lock is held, and is given back at the end."""
        try:
            with self._open() as base:  # as long as one is open, the end of another writes nothing back
                os.utime(self._file)
                known = {key for (key,) in base.execute("select key from segment")}
                if known:
                    self._some.set()  # what was read before is shown at once
                there = self.index.segments()
                if known and known.isdisjoint(there):  # written again, or another archive under the same name
                    self._complete, known = False, set()
                    with self._open(writes=True) as changed:
                        for statement in FORGET:
                            changed.execute(statement)
                for objects in self._together(self.index.texts(key for key in there if key not in known)):
                    self._take(objects)
            self._complete, self._failed = True, None
        except KieError as error:
            log.warning("The library cannot read its index: %s", error)
            self._failed = error
        except Exception:
            log.exception("The library could not be updated.")
        finally:
            self._listed_at = time.monotonic()
            self._some.set()
            self._syncing.release()

    def _together(self, objects: Iterable[tuple[str, list[bytes]]]) -> Iterator[Mapping[str, list[bytes]]]:
        """Yield objects, small ones together: a transaction costs more than many lines."""
        some: dict[str, list[bytes]] = {}
        for key, texts in objects:
            some[key] = texts
            lines, begins = sum(map(len, some.values())), not self._some.is_set()  # nobody waits for these later
            if lines >= (FIRST_LINES if begins else _AT_ONCE) or len(some) >= (_FIRST_OBJECTS if begins else _OBJECTS):
                yield some
                some = {}
        yield some

    def _take(self, objects: Mapping[str, Iterable[bytes]]) -> None:
        with self._open() as base:  # another process may have been faster
            there = {key for key in objects if base.execute("select 1 from segment where key = ?", (key,)).fetchone()}
        new = {key: texts for key, texts in objects.items() if key not in there}
        waiting, damaged, is_read = chain.from_iterable(new.values()), 0, not new
        while not is_read:
            some = list(islice(waiting, _AT_ONCE))
            is_read = len(some) < _AT_ONCE
            with self._open(writes=True) as base:
                damaged += put(base, some)
                if is_read:
                    base.executemany("insert or ignore into segment values (?)", [(key,) for key in new])
            self._changes += 1
            self._lines += len(some)
            if self._lines >= FIRST_LINES:
                self._some.set()
        if damaged:
            named = next(iter(new)) + (f" and {len(new) - 1} more" if len(new) > 1 else "")
            log.warning("%s: %d lines are damaged. `airflow kie index --rebuild` repairs it.", named, damaged)

    def _open(self, *, writes: bool = False) -> Any:
        if not self._file.exists():  # folders for temporary files are cleaned
            self._file, self._complete = own_file(self), False
            self._make()
        return _Transaction(self._file, writes=writes)


def _entry(base: sqlite3.Connection, number: int) -> IndexEntry | None:
    row = base.execute("select text from line where number = ?", (number,)).fetchone()
    return shown(row[0]) if row else None


class _Transaction:
    """A connection of its own, committed and closed at the end: SQLite's are of one thread.

    :param writes: what it reads stays as it is until it has written: other processes may write too.
    """

    def __init__(self, file: Path, *, writes: bool) -> None:
        self._base = sqlite3.connect(file, timeout=60)
        self._writes = writes

    def __enter__(self) -> sqlite3.Connection:
        if self._writes:
            self._base.execute("pragma synchronous = normal")  # what a crash of the machine takes is read again
            self._base.execute("begin immediate")
        return self._base

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            self._base.rollback() if failed else self._base.commit()
        finally:
            self._base.close()
