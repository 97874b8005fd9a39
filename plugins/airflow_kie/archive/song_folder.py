"""One song's place in the bucket, opened through an Airflow connection: what operators and DAGs ask of the archive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import Manifest, read_manifest
from airflow_kie.archive.pending import (
    Failure,
    Pending,
    WaitingFor,
    new_pending,
    read_pending,
    settle_pending,
    upsert_pending,
)
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
        return read_manifest(self.bucket, self.keys)

    def pending(self) -> Pending | None:
        """Return the song's pending record, None when nothing is pending."""
        return read_pending(self.bucket, self.keys)

    def update_pending(self, *, received_from: str, **news: Any) -> Pending:
        """Write what is known into the song's pending record; nothing that is in it is lost.

        :param received_from: event, form, inbox, callback or generate; the first one stays.
        :param news: fields of :class:`~airflow_kie.archive.pending.Pending`.
        """
        return upsert_pending(self.bucket, self.keys, self._news(received_from, **news))

    def record_failure(
        self, reason: str, message: str, title: str | None = None, expires_at: str | None = None
    ) -> None:
        """Write into the pending record why the song is still pending, and what else is known of it.

        :param reason: the error's.
        :param message: what a person reads.
        :param title: what the song is called.
        :param expires_at: ISO time at which KIE deletes the song's files.
        """
        failure = Failure(reason=reason, message=message, at=datetime.now(UTC))
        self.update_pending(received_from="form", last_failure=failure, title=title, expires_at=_time(expires_at))

    def settle_pending(self) -> Pending | None:
        """Delete the pending record if all that it asks for is in the manifest; return what remains of it."""
        return settle_pending(self.bucket, self.keys)

    def set_waiting(self, reason: str, since: datetime) -> None:
        """Write into the pending record, if there is one, which outage the song waits for.

        :param reason: the error's; empty: it no longer waits.
        :param since: when it began to wait.
        """
        if self.pending() is not None:
            waiting = WaitingFor(reason=reason, since=since) if reason else None
            upsert_pending(self.bucket, self.keys, self._news("form", waiting_for=waiting), waits=bool(reason))

    def drop_pending(self) -> None:
        """Delete the pending record, whatever it asks for."""
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
