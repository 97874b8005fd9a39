"""The index in the bucket: JSON Lines in objects that are written once, a month's in one folder.

Each task that archives writes one object for all that it has archived: no lock, no append, no object with two writers.
Of two lines with one id the later holds, so a line that is there twice is harmless. A month with many objects is
compacted into one, which is written before the others are deleted: a reader sees each line at least once.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import TypeVar

from airflow_kie.archive.choice import Choice
from airflow_kie.archive.index.entry import IndexEntry, entry_of
from airflow_kie.archive.layout import ArchiveKeys, SongKeys
from airflow_kie.archive.manifest import Manifest, TaskManifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.s3.objects import ObjectFacts
from airflow_kie.client.task_ids import KeyRefused

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024 * 1024
"""Bytes that are read of one object."""
MANY = 20
"""Small objects of a month from which on they are compacted."""
SMALL_BYTES = 1024 * 1024
"""A larger object is not compacted again."""
ROWS = 5_000
"""Lines of one object: with the longest texts they stay below what is read of one."""
SETTLED = timedelta(minutes=10)
"""Age from which on an object is compacted: S3 services may list late."""
_PARALLEL = 8
Lines = TypeVar("Lines")
_NAME = re.compile(r"(\d{4}-\d{2})/\d{8}T\d{12}-[0-9a-f]{8}\.jsonl")


@dataclass(frozen=True)
class Index:
    """The index of one archive.

    :param bucket: where.
    :param keys: the archive's keys.
    """

    bucket: Bucket
    keys: ArchiveKeys

    def add(self, entries: Iterable[IndexEntry], now: datetime | None = None) -> None:
        """Write what was archived, in one request for each month that it was archived in: usually one.

        :raises S3Error: its subclass says why. Nothing is lost then: the manifests are there, see :meth:`rebuild`.
        """
        now = now or datetime.now(UTC)
        for month, some in _by_month(entries):
            text = "".join(json.dumps(entry.to_json(), ensure_ascii=False) + "\n" for entry in some)
            name = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
            self.bucket.put_bytes(
                text.encode(), f"{self.keys.index}{month}/{name}.jsonl", content_type="application/x-ndjson"
            )

    def segments(self) -> list[str]:
        """Return the keys of the index's objects, newest month first, and newest first in a month."""
        return sorted((facts.key for facts in self._listed()), reverse=True)

    def read(self, key: str) -> list[IndexEntry] | None:
        """Return the lines of one object, None if it is no longer there; a damaged line is left out, with a warning."""
        texts = self._texts(key)
        if texts is None:
            return None
        entries, damaged = [], 0
        for line in texts:
            try:
                entries.append(IndexEntry.model_validate_json(line))
            except ValueError:
                damaged += 1
        if damaged:
            log.warning("%s: %d lines are damaged. `airflow kie index --rebuild` repairs it.", key, damaged)
        return entries

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, list[IndexEntry]]]:
        """Yield objects with their lines, in the order of their keys, some being read ahead."""
        for key, entries in self._ahead(self.read, keys):
            yield key, entries or []

    def texts(self, keys: Iterable[str]) -> Iterator[tuple[str, list[bytes]]]:
        """Yield objects with their lines as they are written, in the order of their keys, some being read ahead."""
        for key, texts in self._ahead(self._texts, keys):
            yield key, texts or []

    def holding(self, text: str) -> Iterator[tuple[str, list[IndexEntry]]]:
        """Yield the objects that hold a text, with all of their lines.

        :param text: such as a task's id.
        """
        for key, texts in self.texts(self.segments()):
            if any(text.encode() in line for line in texts):
                yield key, self.read(key) or []

    def remove(self, key: str, now: datetime) -> None:
        """Take a result out of the index: of its line stay id and times, so that every reader drops it.

        Objects that have its line are written again without it before they are deleted.

        :param key: its :attr:`~airflow_kie.archive.index.entry.IndexEntry.key`.
        :param now: the time.
        :raises S3Error: its subclass says why; running it again continues.
        """
        found = list(self.holding(json.dumps(key.partition("/")[2])))
        lines = [entry for _, entries in found for entry in entries if entry.key == key and not entry.deleted]
        if not lines:
            return
        self.add([lines[-1].as_deleted(now)], now)
        for segment, entries in found:
            others = [entry for entry in entries if entry.key != key]
            if len(others) < len(entries):
                self._replace([segment], others)

    def compact(self, now: datetime | None = None) -> int:
        """Make one object of a month's many small ones.

        :return: how many objects were replaced.
        """
        before = (now or datetime.now(UTC)) - SETTLED
        small = [one.key for one in self._listed() if one.last_modified < before and one.size < SMALL_BYTES]
        months = [list(keys) for _, keys in groupby(sorted(small), self._month)]
        many = [keys for keys in months if len(keys) >= MANY]
        for keys in many:
            self._replace(keys, self._merged(keys))
        return sum(map(len, many))

    def rebuild(self) -> int:
        """Write the index again from the manifests, one GET each, and one more for what is chosen of a song.

        What the old index has and the archive no longer has is marked as deleted; what it has of a manifest that cannot
        be read stays.

        :return: how many results there are.
        """
        old = self.segments()
        known = {entry.key: entry for entry in self._merged(old)}
        found: dict[str, IndexEntry] = {}

        def line(folder: str) -> IndexEntry | None:
            try:
                return self._read(folder)
            except ArchiveUnreadable as error:
                log.warning("%s", error)
                keys = self.keys.at(folder)
                return known.get(f"{keys.operation}/{keys.task_id}")

        with ThreadPoolExecutor(_PARALLEL) as pool:
            for entry in pool.map(line, self._folders()):
                if entry is not None:
                    found[entry.key] = entry
        gone = [entry.as_deleted(datetime.now(UTC)) for key, entry in known.items() if key not in found]
        self._replace(old, [*found.values(), *gone])
        return len(found)

    def _texts(self, key: str) -> list[bytes] | None:
        version = self.bucket.get_version(key, max_bytes=MOST_BYTES)
        return version[1].splitlines() if version else None

    @staticmethod
    def _ahead(read: Callable[[str], Lines | None], keys: Iterable[str]) -> Iterator[tuple[str, Lines | None]]:
        waiting = iter(keys)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            while some := list(islice(waiting, _PARALLEL)):
                yield from zip(some, pool.map(read, some), strict=True)

    def _replace(self, keys: Iterable[str], entries: Sequence[IndexEntry]) -> None:
        """Write lines again, then delete the objects that had them."""
        for start in range(0, len(entries), ROWS):
            self.add(entries[start : start + ROWS])
        for key in keys:
            self.bucket.delete(key)

    def _listed(self) -> list[ObjectFacts]:
        listed = self.bucket.list(self.keys.index)
        return [facts for facts in listed if _NAME.fullmatch(facts.key.removeprefix(self.keys.index))]

    def _month(self, key: str) -> str:
        return key.removeprefix(self.keys.index).partition("/")[0]

    def _merged(self, keys: Iterable[str]) -> list[IndexEntry]:
        """Return the lines that hold of some objects, the oldest first."""
        holds: dict[str, IndexEntry] = {}
        for _, entries in self.read_many(keys):
            for entry in entries:
                known = holds.get(entry.key)
                holds[entry.key] = known.merged_with(entry) if known else entry
        return sorted(holds.values(), key=lambda entry: entry.archived_at)

    def _folders(self) -> Iterator[str]:
        for at in (self.keys.root, *self._operations()):
            yield from (item for item in self.bucket.list_folder(at) if isinstance(item, str))

    def _operations(self) -> Iterator[str]:
        yield from (item for item in self.bucket.list_folder(self.keys.tasks) if isinstance(item, str))

    def entry_at(self, folder: str) -> IndexEntry | None:
        """Return the line of a folder, made from its manifest; None for what is not archived whole.

        :param folder: a song's or a task's.
        """
        try:
            return self._read(folder)
        except ArchiveUnreadable as error:
            log.warning("%s", error)
            return None

    def _read(self, folder: str) -> IndexEntry | None:
        try:
            keys = self.keys.at(folder)
        except KeyRefused:
            return None  # the archive's own folders
        if not isinstance(keys, SongKeys):
            manifest = TaskManifest.read(self.bucket, keys)[0]
            return entry_of(manifest) if manifest else None
        song = Manifest.read(self.bucket, keys)[0]
        return entry_of(song, Choice.readable(self.bucket, keys)) if song else None


def _by_month(entries: Iterable[IndexEntry]) -> Iterator[tuple[str, list[IndexEntry]]]:
    for month, some in groupby(
        sorted(entries, key=lambda entry: entry.archived_at), lambda e: f"{e.archived_at:%Y-%m}"
    ):
        yield month, list(some)
