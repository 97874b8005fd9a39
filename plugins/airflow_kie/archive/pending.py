"""The pending record: this song is known, and something of it is not archived yet.

It is written when a song becomes known, before any event and before anything is paid, and deleted when everything
that it asks for is in the manifest, whichever run brought it there. So the bucket alone says which songs lack a cover.
What KIE was asked for and paid is not here but in the account's ledger (``lifecycle/ledger.py``).

A song that has failed is also named in ``_retry/`` or, where only a person can help, in ``_failed/``, until it is taken
again: what was never tried is so known from listings alone.

Two writers can meet (a callback and a run, two runs that ask for different files): each reads, merges, and writes or
deletes only what has not changed since. On an S3 service that ignores such conditions the later writer wins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from pydantic import Field

from airflow_kie.archive.layout import FAILED, RETRY, ArchiveKeys, SongKeys
from airflow_kie.archive.manifest import Wanted
from airflow_kie.archive.record_base import Label, Record, StoredRecord, UtcTime, label_list, label_map
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.objects import ObjectFacts
from airflow_kie.client.errors import KieError, Remedy, Scope, error_class
from airflow_kie.client.task_ids import is_task_id

log = logging.getLogger(__name__)


class Working(Record):
    """The run that works on the song: reconciliation leaves it alone while that run is active."""

    dag_id: str
    run_id: str


class Failure(Record):
    """How the last attempt ended."""

    reason: str = Field(description="Short reason, such as out_of_credits.")
    message: str = Field(default="", description="What a person reads.")
    at: UtcTime
    times: int = Field(default=1, description="How many attempts have ended so in a row.")


class WaitingFor(Record):
    """The outage that the song's task waits for."""

    reason: str = Field(description="Short reason, such as out_of_credits.")
    since: UtcTime


class Options(Record):
    """What is requested besides the covers."""

    audio: bool = False
    lyrics: bool = False

    @classmethod
    def of(cls, wanted: Wanted) -> Options:
        """Return what a run asks for."""
        return cls(audio=wanted.audio, lyrics=wanted.lyrics)


class Pending(StoredRecord):
    """A song of which something is not archived yet."""

    ID_FIELD: ClassVar[str] = "music_task_id"
    music_task_id: str
    kie_conn_id: str | None = None
    title: str | None = None
    first_seen_at: UtcTime
    received_from: str = Field(description="event, form, inbox, callback or generate.")
    updated_at: UtcTime
    expires_at: UtcTime | None = Field(default=None, description="When KIE deletes its copy of the song.")
    working: Working | None = None
    labels: tuple[Label, ...] = ()
    options: Options = Options()
    last_failure: Failure | None = None
    waiting_for: WaitingFor | None = Field(
        default=None, description="The outage that is waited for; none lasts without it."
    )
    unconfirmed: str | None = Field(
        default=None,
        description="A callback alone names this song: not_asked or not_found is KIE's answer about it so far.",
    )

    @staticmethod
    def key_of(keys: SongKeys) -> str:
        """Return the key at which a song's pending record is stored."""
        return keys.pending

    @property
    def wanted(self) -> Wanted:
        """Return which kinds of files the record asks for: covers always, the others where a run asked for them."""
        return Wanted(audio=self.options.audio, lyrics=self.options.lyrics)

    def merged_with(self, news: Pending) -> Pending:
        """Return this record with what a newer one adds.

        Labels, options and unknown fields only grow; what is known of when and how the song became
        known stays; a song that one writer has confirmed is confirmed; of the rest the newer value counts where there
        is one.
        """
        first = min(self, news, key=lambda record: record.first_seen_at)
        newer = {name: value for name, value in dict(news).items() if value is not None}
        merged: dict[str, Any] = {
            "schema_version": max(self.schema_version, news.schema_version),
            "first_seen_at": first.first_seen_at,
            "received_from": first.received_from,
            "unconfirmed": self.unconfirmed and news.unconfirmed,
            "updated_at": max(self.updated_at, news.updated_at),
            "labels": label_list(label_map(self.labels) | label_map(news.labels)),
            "options": self.options.changed(
                **(news.options.model_extra or {}),
                audio=self.options.audio or news.options.audio,
                lyrics=self.options.lyrics or news.options.lyrics,
            ),
        }
        return self.changed(**newer | merged)


def new_pending(music_task_id: str, *, received_from: str, now: datetime) -> Pending:
    """Return the record of a song that becomes known now; add what is known with ``changed(...)``."""
    return Pending(music_task_id=music_task_id, received_from=received_from, first_seen_at=now, updated_at=now)


def list_pending(bucket: Bucket, archive: ArchiveKeys) -> Iterator[tuple[SongKeys, ObjectFacts]]:
    """Return the keys of every song that is pending, with what S3 says of its record; none is read."""
    for facts in bucket.list(archive.pending):
        if song := archive.pending_song(facts.key):
            yield song, facts


@dataclass(frozen=True)
class Held:
    """A song that has failed, as a listing says.

    :param key: the object that names it.
    :param person: only a person can help.
    :param times: how many attempts have failed in a row.
    :param since: when the last one did.
    """

    key: str
    person: bool
    times: int
    since: datetime

    def is_due(self, now: datetime) -> bool:
        """Return whether the reconciliation starts it again: after an hour, then twice as long, at most a day."""
        return not self.person and now - self.since >= min(FIRST_RETRY * 2.0 ** min(self.times - 1, 10), LAST_RETRY)


FIRST_RETRY = timedelta(hours=1)
LAST_RETRY = timedelta(days=1)


def needs_person(failure: Failure) -> bool:
    """Return whether only a person can help the song: where it was an outage, it goes on once that has ended."""
    known = error_class(failure.reason)
    return known is not None and known.scope is Scope.TASK and known.remedy is Remedy.PERSON


def held_key(song: SongKeys, failure: Failure) -> str:
    """Return the key of the object that names a song which has failed: its listing says all that is needed."""
    folder = FAILED if needs_person(failure) else RETRY
    return f"{ArchiveKeys(song.prefix).root}{folder}/{song.music_task_id}.{failure.times}"


def list_held(bucket: Bucket, archive: ArchiveKeys) -> dict[str, Held]:
    """Return the songs that have failed and were not taken again since; no object is read."""
    held: dict[str, Held] = {}
    for folder in (RETRY, FAILED):
        for facts in bucket.list(start := f"{archive.root}{folder}/"):
            song, _, times = facts.key.removeprefix(start).rpartition(".")
            if is_task_id(song) and times.isdecimal():
                one = Held(facts.key, folder == FAILED, int(times), facts.last_modified)
                held[song] = max(one, held.get(song, one), key=lambda held: held.since)
    return held


def pending_songs(bucket: Bucket, keys: ArchiveKeys) -> Iterator[Pending]:
    """Yield the pending records of an archive; a damaged one is logged and stops no other song.

    :raises S3Error: when the bucket refuses: that must not seem as if nothing were pending.
    """
    for song, _ in list_pending(bucket, keys):
        if pending := readable(bucket, song):
            yield pending


def readable(bucket: Bucket, song: SongKeys) -> Pending | None:
    """Return a song's pending record; None if there is none, or one that is damaged, which is logged.

    :raises S3Error: when the bucket refuses.
    """
    try:
        return Pending.read(bucket, song)[0]
    except KieError as error:
        if error.scope is not Scope.TASK:
            raise
        log.error("%s", error)
        return None
