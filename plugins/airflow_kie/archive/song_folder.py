"""One song's place in the bucket: its manifest, and its pending record, which runs and callbacks write together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_kie.archive.index.entry import entry_of
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys, SongKeys
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.pending import Failure, Pending, WaitingFor, held_key, new_pending
from airflow_kie.archive.record_base import WRITES
from airflow_kie.archive.s3.bucket import Bucket


@dataclass(frozen=True)
class SongArchive:
    """The bucket and the keys of one song.

    :param bucket: where.
    :param keys: the song's keys.
    """

    bucket: Bucket
    keys: SongKeys

    def manifest(self) -> Manifest | None:
        """Return the song's manifest, None while it is not archived."""
        return Manifest.read(self.bucket, self.keys)[0]

    def pending(self) -> Pending | None:
        """Return the song's pending record, None when nothing is pending."""
        return Pending.read(self.bucket, self.keys)[0]

    def update_pending(self, *, received_from: str, **news: Any) -> Pending:
        """Write what is known into the song's pending record; nothing that is in it is lost.

        :param received_from: event, form, inbox, callback or generate; the first one stays.
        :param news: fields of :class:`~airflow_kie.archive.pending.Pending`.
        """
        return self.merge_pending(self._news(received_from, **news))

    def merge_pending(self, news: Pending, *, waits: bool = True) -> Pending:
        """Write the song's pending record, merged with the one that is there, and return what is there now.

        :param news: what is known now; it need not repeat what is stored.
        :param waits: False: the song no longer waits for an outage.
        :raises ArchiveUnreadable: when the stored record is damaged.
        """

        def merged(stored: Pending | None) -> Pending:
            new = stored.merged_with(news) if stored else news
            return new if waits else new.changed(waiting_for=None)

        return Pending.update(self.bucket, self.keys, merged, read_back=False)

    def record_failure(
        self, reason: str, message: str, title: str | None = None, expires_at: str | None = None
    ) -> None:
        """Write into the pending record why the song is still pending, and what else is known of it.

        It is named among those that have failed, too, so that no run that an event wakes takes it.

        :param reason: the error's.
        :param message: what a person reads.
        :param title: what the song is called.
        :param expires_at: ISO time at which KIE deletes the song's files.
        """
        failure = Failure(reason=reason, message=message, at=datetime.now(UTC))
        news = self._news("form", last_failure=failure, title=title, expires_at=_time(expires_at))
        before: Failure | None = None

        def merged(stored: Pending | None) -> Pending:
            nonlocal before
            before = stored.last_failure if stored else None
            counted = failure.changed(times=before.times + 1 if before else 1)
            return (stored.merged_with(news) if stored else news).changed(last_failure=counted)

        record = Pending.update(self.bucket, self.keys, merged, read_back=False)
        self.bucket.put_bytes(b"", held_key(self.keys, record.last_failure or failure), content_type="text/plain")
        if before:
            self.bucket.delete(held_key(self.keys, before))

    def take(self, record: Pending) -> None:
        """Name a song that a run takes no longer among those that have failed.

        :param record: its pending record.
        """
        if record.last_failure:
            self.bucket.delete(held_key(self.keys, record.last_failure))

    def settle_pending(
        self,
        manifest: Manifest,
        *,
        is_new: bool = False,
        is_listed: bool = False,
        known: tuple[Pending | None, str | None] | None = None,
    ) -> Pending | None:
        """List the song in the index, and delete the pending record if everything that it asks for is in the manifest.

        The record is that of every run of the song: one that asked for covers alone leaves what another waits for. The
        index comes first: a task that dies in between finds the record, and lists the song again, which is harmless.

        :param manifest: as it is in the bucket; it only grows.
        :param is_new: it was changed now; otherwise the song is listed only where its pending record goes.
        :param is_listed: the index has it already: many songs are listed in one request.
        :param known: the record and its ETag as they were read before: where it was written since, it is read again.
        :return: the record that stays, None when nothing is pending.
        :raises ArchiveUnreadable: when the record is damaged.
        """
        pending, etag = known or Pending.read(self.bucket, self.keys)
        if not is_listed and (is_new or (pending and not pending.wanted.missing_in(manifest))):
            Index(self.bucket, ArchiveKeys(self.keys.prefix)).add([entry_of(manifest)])
        for _ in range(WRITES):
            if pending is None or pending.wanted.missing_in(manifest):
                return pending
            if self.bucket.delete_if_unchanged(self.keys.pending, etag):
                return None
            pending, etag = Pending.read(self.bucket, self.keys)
        return pending

    def set_waiting(self, reason: str, since: datetime, expires_at: datetime | None = None) -> None:
        """Write into the pending record, if there is one, which outage the song waits for.

        :param reason: the error's; empty: it no longer waits.
        :param since: when it began to wait.
        :param expires_at: when KIE deletes the song's files, if known.
        """
        if self.pending() is not None:
            waiting = WaitingFor(reason=reason, since=since) if reason else None
            self.merge_pending(self._news("form", waiting_for=waiting, expires_at=expires_at), waits=bool(reason))

    def drop_pending(self) -> None:
        """Delete the pending record, whatever it asks for."""
        if record := self.pending():
            self.take(record)
        self.bucket.delete(self.keys.pending)

    def _news(self, received_from: str, **news: Any) -> Pending:
        now = datetime.now(UTC)
        return new_pending(self.keys.music_task_id, received_from=received_from, now=now).changed(**news)


def _time(text: str | None) -> datetime | None:
    """Return the time that a template rendered to, None where it rendered to nothing."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
