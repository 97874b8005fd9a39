"""How many songs the inbox takes in 24 hours: whoever writes there spends, so there is an end to it.

The count stands in the bucket, outside of what those who hand songs in may write. One run of DAG cover_inbox at a time
changes it, so it needs no lock.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from pydantic import Field

from airflow_kie.archive.inbox.objects import InboxObject, InboxUnreadable, shown
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.record_base import Record, UtcTime
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_DAY = timedelta(hours=24)


class Taken(Record):
    """An inbox object whose songs were taken."""

    object: str = Field(description="Its key in the inbox.")
    digest: str = Field(description="Tells objects of one key apart: an attempt that is repeated counts once.")
    songs: int = Field(ge=0)
    at: UtcTime


class TakenRecord(Record):
    """What the inbox took lately."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    taken: tuple[Taken, ...] = ()
    full_at: UtcTime | None = Field(
        default=None, description="When an object was last left waiting because the day takes no more songs."
    )


class InboxDay:
    """The last 24 hours of the inbox.

    :param bucket: where the count stands.
    :param key: :attr:`airflow_kie.archive.layout.ArchiveKeys.inbox_taken`.
    :param limit: songs that are taken in 24 hours.
    :param now: the time.
    :raises ArchiveUnreadable: when the count is damaged: nothing is taken then.
    """

    def __init__(self, bucket: Bucket, key: str, limit: int, now: datetime) -> None:
        self._bucket, self._key, self._limit, self._now = bucket, key, limit, now
        try:
            stored = bucket.get_json(key)
        except ValueError as error:
            raise ArchiveUnreadable(str(error)) from error
        record = TakenRecord.from_json(stored or {}, bucket.url(key))
        self._record = record.changed(taken=tuple(it for it in record.taken if now - it.at < _DAY))
        self._stored = record

    def check(self, item: InboxObject) -> None:
        """Refuse an object that can never be taken as a whole.

        :raises InboxUnreadable: saying how many songs would be.
        """
        if len(item.songs) > self._limit:
            raise InboxUnreadable(
                f"It names {counted(len(item.songs))}; at most {self._limit} are taken in 24 hours "
                "(inbox_songs_per_day in the [kie] configuration)."
            )

    def takes(self, item: InboxObject) -> bool:
        """Count an object's songs and return True; return False if they would be too many: it has to wait."""
        if any(it.digest == item.digest for it in self._record.taken):
            return True
        count = sum(it.songs for it in self._record.taken)
        if count + len(item.songs) > self._limit:
            log.warning(
                "%s and what comes after it wait in the inbox: it names %s; %d of at most %d in 24 hours were taken "
                "(inbox_songs_per_day in the [kie] configuration).",
                shown(item.key), counted(len(item.songs)), count, self._limit,
            )  # fmt: skip
            self._record = self._record.changed(full_at=self._now)
            return False
        taken = Taken(object=item.key, digest=item.digest, songs=len(item.songs), at=self._now)
        self._record = self._record.changed(taken=(*self._record.taken, taken))
        return True

    @property
    def full_at(self) -> datetime | None:
        """When an object was last left waiting because the day takes no more songs."""
        return self._record.full_at

    def store(self) -> None:
        """Write the count, if it has changed; it must be there before any song is started."""
        if self._record.taken != self._stored.taken or self._record.full_at != self._stored.full_at:
            self._bucket.put_json(self._record.to_json(), self._key)
