"""The inbox in the bucket: what waits there, and where each version of an object goes once it was read.

What an object asks for is written to `_inbox/<digest>.json` when it is taken. Tasks and runs name it by that digest:
keys, labels and ids that other people have chosen are in no XCom, no conf of a run and no template field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field

from airflow_kie.archive.inbox.objects import MAX_BYTES, InboxObject, InboxUnreadable, Song, read_songs
from airflow_kie.archive.inbox.quota import InboxDay
from airflow_kie.archive.layout import (
    INBOX,
    INBOX_DONE,
    INBOX_REJECTED,
    ArchiveKeys,
    inbox_done_key,
    inbox_rejected_keys,
    is_waiting_in_inbox,
)
from airflow_kie.archive.pending import Options
from airflow_kie.archive.record_base import Label, Record, UtcTime, label_list, label_map
from airflow_kie.archive.s3.bucket import Bucket, ObjectFacts
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.answers.details import MEDIA_LIFETIME

SCHEMA_VERSION = 1
ORDERS_KEPT = MEDIA_LIFETIME
"""How long the songs of an object are kept for its run, which may be cleared: as long as KIE keeps their files."""
LATE_AFTER = timedelta(minutes=15)
"""An object that waits longer than this, and than three runs of DAG cover_inbox, is late."""
MOST_LOOKED_THROUGH = 1000
"""Waiting objects among which the oldest is looked for."""


class OrderedSong(Record):
    """A song of an inbox object."""

    music_task_id: str
    kie_conn_id: str | None = None
    labels: tuple[Label, ...] = ()
    options: Options = Options()
    cover_task_id: str | None = Field(default=None, description="A cover task that the sender names.")

    def asked(self) -> dict[str, Any]:
        """Return it as the task `song_list` takes songs."""
        return {
            "music_task_id": self.music_task_id,
            "kie_conn_id": self.kie_conn_id,
            "labels": label_map(self.labels),
            "archive_audio": self.options.audio,
            "archive_lyrics": self.options.lyrics,
            "cover_task_id": self.cover_task_id,
            "received_from": "inbox",
        }


class InboxOrder(Record):
    """One version of an inbox object that was taken."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    key: str
    etag: str
    taken_at: UtcTime
    songs: tuple[OrderedSong, ...]


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

    def oldest(self) -> ObjectFacts | None:
        """Return what has waited longest, of the first thousand objects; None while nothing waits."""
        among = (facts for _, facts in zip(range(MOST_LOOKED_THROUGH), self.waiting(), strict=False))
        return min(among, key=lambda facts: facts.last_modified, default=None)

    def late(self, now: datetime, every: timedelta) -> ObjectFacts | None:
        """Return what has waited longest, if it should have been read long ago; None if all is well.

        What waits because `[kie] inbox_songs_per_day` is reached is not late while DAG cover_inbox goes on saying so.

        :param now: UTC.
        :param every: how often DAG cover_inbox runs.
        :raises ArchiveUnreadable: when the count of the day is damaged: nothing is taken then.
        """
        late_after = max(LATE_AFTER, 3 * every)
        oldest = self.oldest()
        if oldest is None or now - oldest.last_modified <= late_after:
            return None
        full_at = InboxDay(self.bucket, self.keys.inbox_taken, 0, now).full_at
        return None if full_at and now - full_at <= late_after else oldest

    def version(self, key: str) -> tuple[ObjectFacts, bytes] | None:
        """Return an object's present version with its content; None if somebody took it back."""
        return self.bucket.get_version(key, max_bytes=MAX_BYTES)

    def read(self, version: ObjectFacts, body: bytes) -> InboxObject:
        """Return what a version of an object asks for.

        :raises InboxUnreadable: when it cannot be taken: for what it holds, or because the record of one of its
            songs is damaged.
        """
        if len(body) > MAX_BYTES:
            raise InboxUnreadable(f"It has {version.size:,} bytes; at most {MAX_BYTES:,} are read.")
        songs = read_songs(version.key, body)
        named = repr((version.key, version.etag, version.last_modified.isoformat()))
        digest = hashlib.sha256(named.encode("utf-8", "backslashreplace")).hexdigest()[:32]
        return InboxObject(version.key, version.etag or "", digest, songs)

    def check_records(self, item: InboxObject) -> None:
        """Read the pending record of each song.

        :raises InboxUnreadable: when one is damaged: writing it again could lose a paid cover task.
        """
        try:
            for song in item.songs:
                self._archive(song["music_task_id"]).pending()
        except ArchiveUnreadable as error:
            raise InboxUnreadable(f"{error.facts.message}. Somebody has to repair or delete that record.") from error

    def take(self, item: InboxObject, now: datetime) -> None:
        """Write the pending record of every song, so that none can be lost, then the order that tasks refer to."""
        order = InboxOrder(key=item.key, etag=item.etag, taken_at=now, songs=tuple(map(_ordered, item.songs)))
        for song in order.songs:
            known: dict[str, Any] = {"options": song.options, "labels": song.labels, "kie_conn_id": song.kie_conn_id}
            if song.cover_task_id:
                known["offered_cover_task_ids"] = (song.cover_task_id,)
            self._archive(song.music_task_id).update_pending(received_from="inbox", **known)
        self.bucket.put_json(order.to_json(), self.keys.inbox_order(item.digest))

    def reject(self, version: ObjectFacts, reason: str) -> bool:
        """Move this version to `inbox/rejected/`, with the reason beside it; return False if another is there now."""
        rejected, reason_key = inbox_rejected_keys(version.key)
        text = f"{reason}\nNothing of this object was taken. Correct it and put it into inbox/ again.\n"
        self.bucket.put_bytes(text.encode("utf-8", "replace"), reason_key, content_type="text/plain; charset=utf-8")
        return self.bucket.move(version.key, rejected, etag=version.etag)

    def order(self, digest: str) -> InboxOrder | None:
        """Return what the object with a digest asks for; None where nothing is kept of it.

        :raises KeyRefused: for what is no digest.
        :raises ArchiveUnreadable: when it is damaged.
        """
        key = self.keys.inbox_order(digest)
        try:
            stored = self.bucket.get_json(key)
        except ValueError as error:
            raise ArchiveUnreadable(str(error)) from error
        return None if stored is None else InboxOrder.from_json(stored, self.bucket.url(key))

    def finish(self, digest: str, order: InboxOrder) -> bool:
        """Move the version that was taken to `inbox/done/`; return False if another one, or none, is there now.

        A single song's pending record says all that its run needs; the songs of a run of many are kept for it.
        """
        moved = self.bucket.move(order.key, inbox_done_key(order.key), etag=order.etag)
        if len(order.songs) == 1:
            self.bucket.delete(self.keys.inbox_order(digest))
        return moved

    def drop_old_orders(self, now: datetime) -> None:
        """Delete what was kept for runs whose songs KIE has deleted by now."""
        for facts in self.bucket.list(self.keys.inbox_orders):
            if now - facts.last_modified > ORDERS_KEPT + timedelta(days=1):
                self.bucket.delete(facts.key)

    def _archive(self, music_task_id: str) -> SongArchive:
        return SongArchive(self.bucket, self.keys.song(music_task_id))


def _ordered(song: Song) -> OrderedSong:
    from airflow_kie.client.untrusted import is_true

    return OrderedSong(
        music_task_id=song["music_task_id"],
        kie_conn_id=song.get("kie_conn_id"),
        labels=label_list({str(name): str(text) for name, text in (song.get("labels") or {}).items()}),
        options=Options(
            audio=is_true(song.get("archive_audio", False)), lyrics=is_true(song.get("archive_lyrics", False))
        ),
        cover_task_id=song.get("cover_task_id"),
    )
