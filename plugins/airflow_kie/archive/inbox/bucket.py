"""The inbox in the bucket: its waiting objects, the songs accepted per day, and where each object is moved.

What an object asks for is written to `_inbox/<digest>.json` when it is taken. Tasks and runs name it by that digest:
keys, labels and ids that other people have chosen are in no XCom, no conf of a run and no template field.

Who may write into the inbox may spend, so a day takes a limited number of songs. The count is in the bucket, outside of
the inbox. One run of DAG cover_inbox at a time changes it, so it needs no lock.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from pydantic import Field

from airflow_kie.archive.inbox.objects import InboxUnreadable, read_songs, shown
from airflow_kie.archive.inbox.song_request import SongRequest, counted
from airflow_kie.archive.layout import (
    INBOX,
    INBOX_DONE,
    INBOX_REJECTED,
    ArchiveKeys,
    inbox_done_key,
    inbox_rejected_keys,
    is_waiting_in_inbox,
)
from airflow_kie.archive.record_base import Record, UtcTime
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.s3.objects import ObjectFacts
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.operations.operation import MEDIA_LIFETIME

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
MAX_BYTES = 5 * 1024 * 1024
"""No inbox object may be larger."""
LATE_AFTER = timedelta(minutes=15)
"""An object that waits longer than this, and than three runs of DAG cover_inbox, is late."""
MOST_COMPARED = 1000
"""Waiting objects among which the oldest is searched for."""
_DAY = timedelta(hours=24)
_PARALLEL = 8

R = TypeVar("R", bound=Record)


class InboxObject(Record):
    """One version of an object of the inbox."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    key: str
    etag: str = Field(description="S3's name of this version.")
    digest: str = Field(
        description="32 hex digits that belong to this version alone: its only name outside the bucket, since people "
        "choose keys."
    )
    songs: tuple[SongRequest, ...]

    @property
    def needs_no_run(self) -> bool:
        """Whether an event says all that it asks for: one song, whose cover is not named."""
        return len(self.songs) == 1 and not self.songs[0].cover_task_id


class Taken(Record):
    """An inbox object whose songs were taken."""

    digest: str = Field(description="Of the object: an attempt that is repeated counts once.")
    songs: int = Field(ge=0)
    at: UtcTime


class InboxDay(Record):
    """What the inbox took in the last 24 hours."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    taken: tuple[Taken, ...] = ()
    full_at: UtcTime | None = Field(
        default=None, description="When an object was last left waiting because the day takes no more songs."
    )

    def has_room(self, item: InboxObject, limit: int) -> bool:
        """Return whether the day takes an object's songs; those of an object that is counted already are taken."""
        count = sum(it.songs for it in self.taken if it.digest != item.digest)
        if count + len(item.songs) <= limit:
            return True
        log.warning(
            "%s and later objects wait in the inbox: it names %s, and %d of at most %d were accepted in 24 hours "
            "(inbox_songs_per_day in the [kie] configuration).",
            shown(item.key), counted(len(item.songs)), count, limit,
        )  # fmt: skip
        return False

    def with_songs_of(self, item: InboxObject, now: datetime) -> InboxDay:
        """Return the day with an object's songs counted, once."""
        others = (it for it in self.taken if it.digest != item.digest)
        return self.changed(taken=(*others, Taken(digest=item.digest, songs=len(item.songs), at=now)))


@dataclass(frozen=True)
class InboxBucket:
    """The inbox of a bucket.

    :param bucket: where it is.
    :param keys: those of the archive.
    """

    bucket: Bucket
    keys: ArchiveKeys

    def waiting(self) -> Iterator[ObjectFacts]:
        """Yield what waits; what is done or rejected, which only grows, is not even listed."""
        for found in self.bucket.list_folder(INBOX):
            if isinstance(found, ObjectFacts):
                within: Iterator[ObjectFacts] = iter((found,))
            else:
                within = iter(()) if found in (INBOX_DONE, INBOX_REJECTED) else self.bucket.list(found)
            yield from (facts for facts in within if is_waiting_in_inbox(facts.key))

    def late(self, now: datetime, every: timedelta) -> ObjectFacts | None:
        """Return what has waited longest, if it should have been read long ago; None if all is well.

        What waits because `[kie] inbox_songs_per_day` is reached is not late while DAG cover_inbox goes on saying so.

        :param now: UTC.
        :param every: how often DAG cover_inbox runs.
        :raises ArchiveUnreadable: when the count of the day is damaged: nothing is taken then.
        """
        late_after = max(LATE_AFTER, 3 * every)
        oldest = min(islice(self.waiting(), MOST_COMPARED), key=lambda facts: facts.last_modified, default=None)
        if oldest is None or now - oldest.last_modified <= late_after:
            return None
        full_at = self.day(now).full_at
        return None if full_at and now - full_at <= late_after else oldest

    def day(self, now: datetime) -> InboxDay:
        """Return what the inbox took in the last 24 hours.

        :raises ArchiveUnreadable: when the count is damaged: nothing is taken then.
        """
        day = _read(InboxDay, self.bucket, self.keys.inbox_taken) or InboxDay()
        return day.changed(taken=tuple(it for it in day.taken if now - it.at < _DAY))

    def store_day(self, day: InboxDay) -> None:
        """Write the count of the day; it must be there before any song is started."""
        self.bucket.put_json(day.to_json(), self.keys.inbox_taken)

    def version(self, key: str) -> tuple[ObjectFacts, bytes] | None:
        """Return an object's present version with its content; None if somebody took it back."""
        return self.bucket.get_version(key, max_bytes=MAX_BYTES)

    def read(self, version: ObjectFacts, body: bytes) -> InboxObject:
        """Return what a version of an object asks for.

        :raises InboxUnreadable: when it cannot be taken for what it holds.
        """
        if len(body) > MAX_BYTES:
            raise InboxUnreadable(f"It has {version.size:,} bytes; at most {MAX_BYTES:,} are allowed.")
        songs = tuple(read_songs(version.key, body))
        named = repr((version.key, version.etag, version.last_modified.isoformat()))
        digest = hashlib.sha256(named.encode("utf-8", "backslashreplace")).hexdigest()[:32]
        return InboxObject(key=version.key, etag=version.etag or "", digest=digest, songs=songs)

    def check_records(self, item: InboxObject) -> None:
        """Read the pending record of each song.

        :raises InboxUnreadable: when one is damaged.
        """
        try:
            with ThreadPoolExecutor(_PARALLEL) as pool:
                list(pool.map(lambda song: self._archive(song).pending(), item.songs))
        except ArchiveUnreadable as error:
            raise InboxUnreadable(f"{error.facts.message}. Repair or delete that record.") from error

    def take(self, item: InboxObject) -> None:
        """Write the pending record of every song, so that none can be lost, then the object that tasks refer to."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(lambda song: self._archive(song).update_pending(**song.facts()), item.songs))
        self.bucket.put_json(item.to_json(), self.keys.inbox_order(item.digest))

    def reject(self, version: ObjectFacts, reason: str) -> bool:
        """Move this version to `inbox/rejected/`, with the reason beside it; return False if another is there now."""
        rejected, reason_key = inbox_rejected_keys(version.key)
        text = f"{reason}\nNo song of this object was accepted. Correct it and put it into inbox/ again.\n"
        self.bucket.put_bytes(text.encode("utf-8", "replace"), reason_key, content_type="text/plain; charset=utf-8")
        return self.bucket.move(version.key, rejected, etag=version.etag)

    def taken(self, digest: str) -> InboxObject | None:
        """Return the object with a digest as it was taken; None where nothing is kept of it.

        :raises KeyRefused: for what is not a digest.
        :raises ArchiveUnreadable: when it is damaged.
        """
        return _read(InboxObject, self.bucket, self.keys.inbox_order(digest))

    def finish(self, item: InboxObject) -> bool:
        """Move the version that was taken to `inbox/done/`; return False if another one, or none, is there now.

        The pending record of a song that needs no run of its own says all that is needed; the others are kept for it.
        """
        moved = self.bucket.move(item.key, inbox_done_key(item.key), etag=item.etag)
        if item.needs_no_run:
            self.bucket.delete(self.keys.inbox_order(item.digest))
        return moved

    def drop_old_objects(self, now: datetime) -> None:
        """Delete what was kept for runs, which may be cleared, whose songs KIE has deleted by now."""
        for facts in self.bucket.list(self.keys.inbox_orders):
            if now - facts.last_modified > MEDIA_LIFETIME + timedelta(days=1):
                self.bucket.delete(facts.key)

    def _archive(self, song: SongRequest) -> SongArchive:
        return SongArchive(self.bucket, self.keys.song(song.music_task_id))


def _read(record: type[R], bucket: Bucket, key: str) -> R | None:
    stored = bucket.get_json(key)
    return None if stored is None else record.from_json(stored, bucket.url(key))
